import pytest

from mechdecouple.errors import InputError, ModelError
from mechdecouple.jobs.config import chosen_models, chosen_pairs, make_job, read_job


def job(**entries):
    return make_job({"models": ["a", "b", "c"], "task": "items.csv", **entries})


@pytest.fixture
def steps(tmp_path):
    for number in (1, 2, 10, 100):
        (tmp_path / f"step-{number}").mkdir()
    return tmp_path


def test_a_file_is_read_as_written(tmp_path):
    (tmp_path / "job.toml").write_text(
        'name = "sweep"\nmodels = ["step-*"]\ntask = "items.csv"\npairs = "consecutive"\n'
        '[compare]\nposition = "mean"\n[budget]\ndisk = "1.5 GB"\npasses = 1000\n'
    )
    found = read_job(tmp_path / "job.toml")
    assert found.tasks == ("items.csv",)
    assert found.comparison.position == "mean"
    assert (found.budget.disk, found.budget.passes) == (1_500_000_000, 1000)


def test_patterns_are_written_out_in_natural_order(steps):
    found = chosen_models(job(models=["step-*", "zoo:honest"]), steps)
    assert found == (*(str(steps / f"step-{n}") for n in (1, 2, 10, 100)), "zoo:honest")


def test_absolute_patterns(steps):
    assert len(chosen_models(job(models=[str(steps / "step-1*")]), steps.parent)) == 3


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, [("a", "b"), ("a", "c"), ("b", "c")]),
        ({"pairs": "consecutive"}, [("a", "b"), ("b", "c")]),
        ({"pairs": "reference", "reference": "b"}, [("b", "a"), ("b", "c")]),
        ({"pairs": [["c", "a"]]}, [("c", "a")]),
        ({"stages": ["extract"]}, []),
    ],
)
def test_pairs(entries, expected, tmp_path):
    one = job(**entries)
    assert list(chosen_pairs(one, one.models, tmp_path)) == expected


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"modles": ["a"]}, "unknown entry 'modles'; did you mean 'models'"),
        ({"models": []}, "models"),
        ({"name": "../x"}, "name = '../x'"),
        ({"compare": {"positon": "last"}}, "did you mean 'position'"),
        ({"budget": {"disk": "20"}}, "500 MB"),
        ({"pairs": "reference"}, "give both or neither"),
        ({"stages": ["train"]}, "stages"),
        ({"stages": ["extract"], "pairs": "consecutive"}, "stage 'compare'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(entries, words):
    with pytest.raises(InputError, match=words) as caught:
        job(**entries)
    assert "\n" not in str(caught.value)


def test_a_missing_entry_is_named():
    with pytest.raises(InputError, match="tasks is missing"):
        make_job({"models": ["a"]})


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"models": ["a"]}, "1 model make"),
        ({"pairs": [["a", "z"]]}, "'z' is in a pair"),
        ({"pairs": [["a", "a"]]}, "paired with itself"),
        ({"models": ["a", "a"]}, "named twice"),
        ({"models": ["nothing-*"]}, "no model matches"),
    ],
)
def test_models_and_pairs_that_cannot_be(entries, words, tmp_path):
    one = job(**entries)
    with pytest.raises(InputError, match=words):
        chosen_pairs(one, chosen_models(one, tmp_path), tmp_path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_job(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("models = [")
    with pytest.raises(InputError, match="does not parse"):
        read_job(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"sae": {"widht": 64}}, "unknown option 'widht' of sparse autoencoders"),
    ],
)
def test_options_of_autoencoders_are_checked_at_once(entries, words):
    with pytest.raises(InputError, match=words):
        job(**entries)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache of the hub with branches of ``lab/tiny``."""
    from huggingface_hub import constants

    root = tmp_path / "hub" / "models--lab--tiny"
    for number, name in enumerate(("main", "step2", "step10", "step100", "stage1/step3")):
        commit = f"{number}" * 40
        (root / "snapshots" / commit).mkdir(parents=True)
        place = root / "refs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("mechdecouple.models.hub.offline", lambda: True)
    return tmp_path


def test_patterns_of_revisions_are_written_out_in_natural_order(cached):
    found = chosen_models(job(models=["lab/tiny@step*", "lab/tiny"]), cached)
    assert found == ("lab/tiny@step2", "lab/tiny@step10", "lab/tiny@step100", "lab/tiny")
    assert chosen_models(job(models=["lab/tiny@stage1/*"]), cached) == ("lab/tiny@stage1/step3",)
    (cached / "lab").mkdir()
    (cached / "lab" / "tiny@step7").mkdir()
    assert chosen_models(job(models=["lab/tiny@step*"]), cached) == (str(cached / "lab" / "tiny@step7"),)


def test_revisions_that_are_not_there(cached):
    with pytest.raises(InputError, match=r"no revision of 'lab/tiny' matches 'epoch\*'"):
        chosen_models(job(models=["lab/tiny@epoch*"]), cached)
    with pytest.raises(ModelError, match="lab/none: no model of that name in the cache"):
        chosen_models(job(models=["lab/none@step*"]), cached)
