from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, encode_texts, load_pretrained, save_hooked


def refused(ref, *parts, **options):
    with pytest.raises(ModelError) as caught:
        load_pretrained(ref, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_directories_of_every_family_load_as_they_were_saved(hf_dirs, hf_model, family, padded):
    model = load_pretrained(hf_dirs[family])
    assert model.name == hf_dirs[family].name and model.ref == str(hf_dirs[family])
    assert model.architecture == type(hf_model).__name__
    assert (model.head is None) == (family == "bert_body")
    assert encode_texts(model, ["the cat"]).last().tolist() == ([2] if "bert" in family else [1])
    for key, value in hf_model.state_dict().items():
        if "pooler" not in key:
            assert torch.equal(model.module.state_dict()[key], value)


def test_dtype_device_and_processing(hf_dirs):
    model = load_pretrained(hf_dirs["gpt2"], dtype="bfloat16", device="cpu", name="half")
    assert (model.name, model.dtype, model.device.type) == ("half", torch.bfloat16, "cpu")
    assert load_pretrained(hf_dirs["llama"], processing="fold_ln").processing == "fold_ln"
    refused(hf_dirs["gpt2"], "unknown dtype 'int3'", dtype="int3")
    refused(hf_dirs["gpt2"], "device 'tpu9' cannot be used", device="tpu9")
    refused(hf_dirs["gpt2"], "unknown processing 'centre'", processing="centre")


@pytest.fixture
def altered(hf_dirs, tmp_path):
    """A copy of a family's directory with its tensors or its config changed."""

    def alter(family, tensors=lambda t: t, config=lambda c: c):
        target = tmp_path / family
        target.mkdir()
        for file in hf_dirs[family].iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        save_file(tensors(load_file(target / "model.safetensors")), target / "model.safetensors", {"format": "pt"})
        fields = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(config(fields)))
        return target

    return alter


def test_weights_that_are_not_finite_are_refused_by_name(altered):
    def damage(tensors):
        tensors["transformer.h.1.mlp.c_fc.weight"][3, 2] = torch.nan
        return tensors

    refused(altered("gpt2", damage), "'transformer.h.1.mlp.c_fc.weight' holds NaN")


def test_missing_weights_of_the_body_are_refused_by_name(altered):
    gone = "transformer.h.2.attn.c_proj.weight"
    path = altered("gpt2", lambda t: {k: v for k, v in t.items() if k != gone})
    refused(path, "'h.2.attn.c_proj.weight' are missing")


def test_a_missing_head_is_left_out_and_never_random(altered, padded):
    path = altered("llama", lambda t: {k: v for k, v in t.items() if not k.startswith("lm_head")})
    model = load_pretrained(path)
    assert model.head is None and model.architecture == "LlamaModel"
    assert model.forward(padded, capture=["blocks.2.hook_resid_post"]).logits is None
    path = altered("bert", lambda t: {k: v for k, v in t.items() if not k.startswith("cls.")})
    assert load_pretrained(path).head is None


def test_an_encoder_whose_config_names_no_head_has_none(altered):
    model = load_pretrained(altered("bert", config=lambda c: {**c, "architectures": ["BertModel"]}))
    assert (model.head, model.architecture) == (None, "BertModel")


def test_unknown_architectures_and_damaged_files_are_refused(altered, tmp_path):
    refused(altered("gpt2", config=lambda c: {**c, "architectures": ["MyOwnLM"]}), "architecture 'MyOwnLM'")
    path = altered("neox")
    (path / "model.safetensors").write_bytes(b"not weights")
    refused(path, "cannot be loaded")
    (path / "config.json").write_text("{")
    refused(path, "not a readable config")


def test_refs_that_do_not_exist(tmp_path, monkeypatch):
    refused(tmp_path / "nothing", "no such file or directory")
    refused("./nothing/here/at/all", "no such file or directory")
    refused("nothing.pt", "no such file or directory")
    monkeypatch.setattr("mechdecouple.models.huggingface_files.offline", lambda: True)
    refused("no-one/no-such-model", "no such file or directory, and no model of that name on the hub")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no config.json")
    (tmp_path / "model.onnx").write_text("")
    refused(tmp_path / "model.onnx", "a model file ends in .pt")


def test_a_factory_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "import torch\ndef net(): return torch.nn.Sequential(torch.nn.Linear(3, 2))\ndef number(): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = load_pretrained("my_models:net")
    assert model.input_kind == "array" and model.forward(Batch(array=torch.ones(1, 3))).logits.shape == (1, 2)
    refused("my_models:number", "returned int")
    refused("my_models:missing", "cannot be imported")
    refused("no_such_module:net", "cannot be imported")
    sys.modules.pop("my_models")


def test_hooked_round_trip(hooked, tokenizer, tmp_path, padded):
    hooked.tokenizer = tokenizer
    assert save_hooked(hooked, tmp_path / "toy") == tmp_path / "toy"
    assert sorted(p.name for p in (tmp_path / "toy").iterdir())[:2] == ["config.json", "model.safetensors"]
    back = load_pretrained(tmp_path / "toy", device="cpu")
    assert back.name == "toy" and back.module.cfg.attention_dir == hooked.cfg.attention_dir
    whole = Batch(padded.tokens)
    assert torch.equal(back.forward(whole).logits, hooked(whole.tokens))
    assert encode_texts(back, ["the cat"]).tokens[0].tolist() == [6, 7]
    save_hooked(back, tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "toy" / name).read_bytes()
    assert load_pretrained(tmp_path / "again").weight_hash == back.weight_hash


def test_saving_leaves_nothing_half_written(hooked, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_hooked(hooked, tmp_path / "file")
    with pytest.raises(ModelError, match="expected a HookedTransformer"):
        save_hooked(torch.nn.Linear(2, 2), tmp_path / "x")
    assert not (tmp_path / "x").exists()
