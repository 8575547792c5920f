import json
import os
import shutil

import pytest

import mechdecouple as md
from mechdecouple.errors import InputError
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.units import Unit


def test_copies_agree_and_one_changed_byte_does_not(gpt2_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(gpt2_dir, copy)
    contents = Contents()
    assert contents.of_model(str(copy)) == contents.of_model(str(gpt2_dir))
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert Contents().of_model(str(copy)) != contents.of_model(str(gpt2_dir))


def test_a_tokenizer_is_part_of_the_model(gpt2_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(gpt2_dir, copy)
    (copy / "tokenizer_config.json").write_text("{}")
    assert Contents().of_model(str(copy)) != Contents().of_model(str(gpt2_dir))


def test_files_are_read_once_until_they_change(gpt2_dir, tmp_path):
    copy, memory = tmp_path / "copy", tmp_path / "memory" / "hashes.json"
    shutil.copytree(gpt2_dir, copy)
    first = Contents(memory)
    expected = first.of_model(str(copy))
    first.save()
    # what is remembered is taken at its word: the file was not read again
    known = json.loads(memory.read_text())
    memory.write_text(
        json.dumps({key: value[::-1] if "model.safetensors" in key else value for key, value in known.items()})
    )
    assert Contents(memory).of_model(str(copy)) != expected
    memory.write_text(json.dumps(known))
    weights = copy / "model.safetensors"
    facts, data = weights.stat(), bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # a change that hides behind the old time
    assert Contents(memory).of_model(str(copy)) != expected
    memory.write_text("[]")
    assert Contents(memory).of_model(str(copy)) != expected


def test_models_that_are_no_directory_are_hashed_by_their_weights():
    contents = Contents()
    assert contents.of_model("zoo:planted-factored") == contents.of_model("zoo:planted-factored@0")
    assert contents.of_model("zoo:planted-factored") != contents.of_model("zoo:planted-rotated")
    assert len(md.load("zoo:planted-factored").weight_hash) == len(contents.of_model("zoo:planted-factored"))


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="no files of a model"):
        Contents().of_model(str(tmp_path))


def test_hashes_of_much_that_was_read_are_kept_at_once(gpt2_dir, tmp_path, monkeypatch):
    from mechdecouple.jobs import content

    memory = tmp_path / "hashes.json"
    expected = Contents(memory).of_model(str(gpt2_dir))
    assert not memory.exists()
    monkeypatch.setattr(content, "_MUCH", (gpt2_dir / "model.safetensors").stat().st_size - 1)
    assert Contents(memory).of_model(str(gpt2_dir)) == expected
    assert str(gpt2_dir / "model.safetensors") in memory.read_text()


def test_what_a_training_run_leaves_beside_a_checkpoint_is_no_part_of_it(gpt2_dir, tmp_path):
    copy = tmp_path / "checkpoint-10"
    shutil.copytree(gpt2_dir, copy)
    expected = Contents().of_model(str(copy)), Contents().of_shape(str(copy))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "trainer_state.json"):
        (copy / name).write_text("not of the model")
    assert (Contents().of_model(str(copy)), Contents().of_shape(str(copy))) == expected
    (copy / "pytorch_model.bin").write_text("of the model")
    assert Contents().of_model(str(copy)) != expected[0]


def test_checkpoints_of_one_run_have_one_shape(gpt2_dir, llama_dir, tmp_path):
    copy, contents = tmp_path / "step-2", Contents()
    shutil.copytree(gpt2_dir, copy)
    (copy / "model.safetensors").write_bytes(b"others")
    assert contents.of_shape(str(copy)) == contents.of_shape(str(gpt2_dir))
    assert contents.of_model(str(copy)) != contents.of_model(str(gpt2_dir))
    assert contents.of_shape(str(copy)) != contents.of_shape(str(llama_dir))
    assert contents.of_shape("zoo:planted-factored@3") == contents.of_shape("zoo:planted-factored")
    assert contents.of_shape("zoo:planted-factored") != contents.of_shape("zoo:planted-rotated")
    for seed in (0, 1):
        (tmp_path / f"model_{seed}.pt").write_text(str(seed))
        (tmp_path / f"config_{seed}.json").write_text('{"n_layers": 1}')
    assert contents.of_shape(str(tmp_path / "model_0.pt")) == contents.of_shape(str(tmp_path / "model_1.pt"))


def test_keys_follow_content_and_not_places():
    spec = {"model": "abc", "options": {"position": "last", "dtype": "float32"}}
    one = Unit("extract", spec, {"model": "/here"}, label="one")
    same = Unit("extract", dict(reversed(spec.items())), {"model": "/there"}, label="other")
    assert one.key == same.key
    assert one.key != Unit("sae", spec, {}).key
    assert one.key != Unit("extract", {**spec, "model": "abd"}, {}).key
    assert one.key != Unit("extract", spec, {}, needs=("x",)).key
    assert Unit.of(one.record()) == one
