"""`mechdecouple sae` as a user meets it: train, evaluate, match, crosscode; what is wrong in one line."""

from __future__ import annotations

import pandas as pd
import pytest

from mechdecouple.cli import main

POINT = "blocks.0.hook_resid_post"
NAMES = ("seed0/000", "seed1/000")


def run(*words) -> int:
    return main(["sae", *map(str, words), "--quiet"])


@pytest.fixture(scope="module")
def trained(gpt2_dir, yes_no_csv, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli-sae")
    sizes = ("--width", 32, "--k", 4, "--steps", 40)
    words = ("train", gpt2_dir, "--task", yes_no_csv, "--hook-points", POINT, "--seeds", 0, 1, *sizes, "--out", out)
    assert run(*words) == 0
    return out, words


def test_train_writes_a_dictionary_a_seed_and_judges_each_on_held_out_groups(trained):
    from sae_lens import SAE

    out, _ = trained
    table = pd.read_parquet(out / "evaluation.parquet")
    assert set(table.sae) == set(NAMES)
    for name in NAMES:
        assert SAE.load_from_disk(out / name).cfg.d_sae == 32
        l0 = table[(table.sae == name) & (table.metric == "sae_l0")].value.item()
        assert l0 == pytest.approx(4, abs=0.5)


def test_train_again_reads_what_is_there(trained, capsys):
    out, words = trained
    weights = [(out / name / "sae_weights.safetensors").read_bytes() for name in NAMES]
    assert weights[0] != weights[1]
    assert run(*words) == 0
    assert [(out / name / "sae_weights.safetensors").read_bytes() for name in NAMES] == weights
    assert NAMES[1] in capsys.readouterr().out


def test_training_from_extracted_activations_is_the_same_training(trained, gpt2_dir, yes_no_csv, tmp_path):
    out, words = trained
    assert run("train", out / "activations", *words[2:-1], tmp_path / "again") == 0
    for name in NAMES:
        one, other = (folder / name / "sae_weights.safetensors" for folder in (out, tmp_path / "again"))
        assert one.read_bytes() == other.read_bytes()


def test_evaluate_says_whether_it_is_fit_to_speak_of_features(trained, gpt2_dir, yes_no_csv, tmp_path, capsys):
    out, _ = trained
    words = ("evaluate", gpt2_dir, "--sae", out / NAMES[0], "--task", yes_no_csv, "--out", tmp_path / "judged")
    assert run(*words) == 0
    said = capsys.readouterr().out.splitlines()
    found = pd.read_parquet(tmp_path / "judged" / "evaluation.parquet")
    assert {"sae_explained_variance", "sae_loss_recovered", "sae_spliced_loss"} <= set(found.metric)
    # forty steps on a random model: the loss that mean ablation costs is too little to recover, the rest decides
    value = found[found.context == ""].set_index("metric").value
    fit = value["sae_explained_variance"] >= 0.7 and value["sae_dead_latents"] <= 0.5
    assert ("good enough to speak of features" in said) == fit
    assert any(line.startswith("not good enough to speak of features: ") for line in said) == (not fit)


def test_a_model_matched_with_itself_shares_as_much_as_its_seeds(trained, gpt2_dir, yes_no_csv, tmp_path):
    out, _ = trained
    saes = (out / NAMES[0], out / NAMES[1])
    words = ("match", gpt2_dir, gpt2_dir, "--task", yes_no_csv, "--sae-a", *saes, "--sae-b", *saes)
    assert run(*words, "--out", tmp_path / "matched") == 0
    found = pd.read_parquet(tmp_path / "matched" / "sharing.parquet").set_index("metric").value
    assert found["matched_share_excess"] == pytest.approx(0, abs=1e-12)
    latents = pd.read_parquet(tmp_path / "matched" / "latents.parquet")
    assert {"side", "latent", "kind", "partners", "seed_kind"} <= set(latents)


def test_crosscode_of_two_widths(gpt2_dir, llama_dir, yes_no_csv, tmp_path):
    words = ("crosscode", gpt2_dir, llama_dir, "--task", yes_no_csv, "--hook-point", POINT, "--k", 4, "--steps", 40)
    assert run(*words, "--width", 48, "--out", tmp_path / "both") == 0
    from mechdecouple.sae import Crosscoder

    found = Crosscoder.load(tmp_path / "both" / "crosscoder")
    assert (found.d_a, found.d_b, found.width) == (16, 24, 48)
    latents = pd.read_parquet(tmp_path / "both" / "latents.parquet")
    assert len(latents) == 48
    assert latents.reason.str.len().min() > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "{model}", "--out", "{out}"), "no task given"),
        (("train", "{model}", "--task", "{task}", "--architecture", "dense", "--out", "{out}"), "'dense'"),
        (("train", "{model}", "--task", "{task}", "--width", "3", "--k", "4", "--out", "{out}"), "k is 4"),
        (("train", "{model}", "--task", "{task}", "--seed", "-1", "--out", "{out}"), "'-1' is no seed"),
        (("evaluate", "{other}", "--sae", "{sae}", "--task", "{task}", "--out", "{out}"), "width"),
        (("evaluate", "{model}", "--sae", "{out}", "--task", "{task}", "--out", "{out}"), "no cfg.json"),
        (("match", "{model}", "{model}", "--task", "{task}", "--sae-a", "{sae}", "--sae-b", "{sae}", "--out", "{out}"),
         "two or more"),
        (("crosscode", "{model}", "{other}", "--task", "{task}", "--hook-point", "blocks.9", "--out", "{out}"),
         "'blocks.9'"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(trained, gpt2_dir, llama_dir, yes_no_csv, tmp_path, capsys, words, said):
    places = {"model": gpt2_dir, "other": llama_dir, "task": yes_no_csv, "out": tmp_path / "bad"}
    places["sae"] = trained[0] / NAMES[0]
    assert run(*(word.format(**places) for word in words)) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("mechdecouple: ")
    assert said in line
    assert not (tmp_path / "bad").exists()
