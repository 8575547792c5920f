import pytest

from mechdecouple.compare.trends.steps import split_step


@pytest.mark.parametrize(
    ("ref", "run", "step"),
    [
        ("runs/a/step-1000", "runs/a/step-*", 1000),
        ("runs/a/checkpoint-500/", "runs/a/checkpoint-*/", 500),
        ("runs/seed-3/step_20", "runs/seed-3/step_*", 20),
        ("org/pythia-70m@step3000", "org/pythia-70m@step*", 3000),
        ("org/olmo-1b@step1000-tokens4B", "org/olmo-1b@step*-tokens4B", 1000),
        ("org/name@7000", "org/name@*", 7000),
        ("sweep/0040", "sweep/*", 40),
        ("sweep/epoch=7", "sweep/epoch=*", 7),
        ("run/global_step300/model.pt", "run/global_step*/model.pt", 300),
    ],
)
def test_the_step_is_cut_out_of_the_name(ref, run, step):
    assert split_step(ref) == (run, step)


@pytest.mark.parametrize(
    "ref",
    [
        "gpt2", "org/pythia-70m", "Qwen/Qwen2.5-0.5B", "zoo:factored@3", "runs/seed-3", "runs/a/final",
        "model-00001-of-00002", "llama-v3", "runs/1000/final", "org/name@2024-10-01", "step-10k", "a/b-1.5",
    ],
)  # fmt: skip
def test_sizes_seeds_and_versions_are_no_steps(ref):
    assert split_step(ref) == (ref, None)


def test_checkpoints_of_one_run_share_their_run():
    refs = [f"runs/a/step-{n}" for n in (9, 10, 100)]
    assert len({split_step(ref)[0] for ref in refs}) == 1
