import json
import re

import pytest

from analyses.__main__ import FOLDER, studies
from analyses._study import perform

FINDINGS = {name: study for name, study in studies().items() if study.finding}


@pytest.mark.slow
@pytest.mark.parametrize("name", FINDINGS)
def test_a_study_finds_what_the_table_of_studies_says(name, tmp_path):
    published = re.search(rf"^\| `{name}` .*? \| \*\*(.+?)\*\* \|", (FOLDER / "README.md").read_text("utf-8"), re.M)
    result = perform(FINDINGS[name], False, tmp_path, progress=False)
    assert published is not None
    assert result.verdict == published[1]
    assert json.loads((tmp_path / "result.json").read_text("utf-8"))["verdict"] == result.verdict
    assert {path.stem for path in tmp_path.glob("*.pdf")} == set(result.figures)
