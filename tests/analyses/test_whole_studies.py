import json

import pytest

from analyses.__main__ import studies
from analyses._study import perform

FOUND = {
    "same_output": "partly", "indifference": "reproduced", "traces": "partly", "utility_weights": "partly",
    "calibrated_reward": "partly", "echo": "reproduced", "faithful_models": "reproduced",
    "glass_boxes": "reproduced",
}  # fmt: skip


def test_every_finding_is_looked_at():
    assert set(FOUND) == {name for name, study in studies().items() if study.finding}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_models_trained_anew_show_the_finding(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    result = perform(studies()[name], False, tmp_path / "out", progress=False)
    assert result.verdict == FOUND[name]
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["verdict"] == result.verdict
    assert {path.stem for path in (tmp_path / "out").glob("*.pdf")} == set(result.figures)
