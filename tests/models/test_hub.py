"""Models on the hub, from a cache that the test makes as the hub's client would."""

import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from mechdecouple import load
from mechdecouple.errors import ModelError
from mechdecouple.models.hub import HubRef, hub_commit, parse_hub

FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def hub(gpt2_dir, tmp_path, monkeypatch):
    """``lab/tiny``: commit FIRST is branch step1, SECOND (every weight doubled) is main and the tag v1/rc."""
    cache = tmp_path / "hub"
    root = cache / "models--lab--tiny"
    for commit in (FIRST, SECOND):
        shutil.copytree(gpt2_dir, root / "snapshots" / commit)
    weights = root / "snapshots" / SECOND / "model.safetensors"
    save_file({k: 2 * v for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    for name, commit in (("main", SECOND), ("step1", FIRST), ("v1/rc", SECOND)):
        place = root / "refs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("mechdecouple.models.hub.offline", lambda: True)
    monkeypatch.setattr("mechdecouple.models.huggingface_files.offline", lambda: True)
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt2", HubRef("gpt2", None)),
        ("lab/tiny", HubRef("lab/tiny", None)),
        ("lab/tiny@step1", HubRef("lab/tiny", "step1")),
        ("lab/tiny@refs/pr/1", HubRef("lab/tiny", "refs/pr/1")),
        ("lab/tiny@v1.0+x", HubRef("lab/tiny", "v1.0+x")),
        ("./lab/tiny", None),
        ("a/b/c", None),
        ("lab/tiny@", None),
        ("lab/tiny@a b", None),
        ("zoo:honest@1", None),
    ],
)
def test_references_of_the_hub(text, expected):
    assert parse_hub(text) == expected


def test_a_revision_gives_its_own_weights_and_name(hub, gpt2_dir):
    here = load_file(gpt2_dir / "model.safetensors")["transformer.wpe.weight"]
    for ref, factor in (("lab/tiny@step1", 1), ("lab/tiny", 2), ("lab/tiny@v1/rc", 2), (f"lab/tiny@{FIRST}", 1)):
        model = load(ref)
        assert torch.equal(model.named_parameters()["transformer.wpe.weight"], factor * here)
        assert model.tokenizer is not None
    assert load("lab/tiny@step1").name == "tiny@step1"
    assert load("lab/tiny@v1/rc").name == "tiny@v1/rc"
    assert load("lab/tiny").name == "tiny"
    assert load("lab/tiny", name="mine").name == "mine"
    assert load("lab/tiny@step1").provenance()["ref"] == "lab/tiny@step1"


def test_a_directory_with_an_at_sign_is_a_directory(hub, gpt2_dir, tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    shutil.copytree(gpt2_dir, tmp_path / "lab" / "tiny@main")
    monkeypatch.chdir(tmp_path)
    assert load("lab/tiny@main").weight_hash == load(gpt2_dir).weight_hash
    assert load("lab/tiny@main").name == "tiny@main"


def test_the_commit_behind_a_reference(hub):
    assert hub_commit(HubRef("lab/tiny", None)) == SECOND
    assert hub_commit(HubRef("lab/tiny", "step1")) == FIRST
    assert hub_commit(HubRef("lab/tiny", FIRST)) == FIRST
    (hub / "refs" / "main").write_text(FIRST)
    assert hub_commit(HubRef("lab/tiny", None)) == FIRST


@pytest.mark.parametrize("ref", ["lab/tiny@step2", "lab/none", f"lab/tiny@{'c' * 40}"])
def test_what_is_not_there_is_told_in_one_line(hub, ref):
    for ask in (load, lambda text: hub_commit(parse_hub(text))):
        with pytest.raises(ModelError) as caught:
            ask(ref)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{ref}: no such file or directory, and no model of that name")
        assert ("with revision" in str(caught.value)) == ("@" in ref)


def test_a_revision_without_weights_is_refused_by_its_name(hub):
    (hub / "snapshots" / FIRST / "model.safetensors").unlink()
    assert hub_commit(HubRef("lab/tiny", "step1")) == FIRST
    with pytest.raises(ModelError, match=r"^lab/tiny@step1: "):
        load("lab/tiny@step1")


def test_an_architecture_that_is_unknown_is_told_with_its_revision(hub):
    config = hub / "snapshots" / FIRST / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "architectures": ["MyOwnLM"]}))
    with pytest.raises(ModelError, match="lab/tiny@step1: architecture 'MyOwnLM'"):
        load("lab/tiny@step1")
