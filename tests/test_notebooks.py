"""The notebooks run from top to bottom, and their figures are drawn."""

import json
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
jupytext = pytest.importorskip("jupytext")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel named python3 that is this interpreter, with every directory of Jupyter's in a temporary one."""
    home = tmp_path / "home"
    for name, place in (
        ("HOME", home), ("IPYTHONDIR", home / "ipython"), ("JUPYTER_DATA_DIR", home / "data"),
        ("JUPYTER_CONFIG_DIR", home / "config"), ("JUPYTER_RUNTIME_DIR", home / "runtime"),
        ("JUPYTER_PATH", home / "path"),
    ):  # fmt: skip
        place.mkdir(exist_ok=True)
        monkeypatch.setenv(name, str(place))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    spec = home / "data" / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))


def notebooks():
    """All of them; the quickstart in every run of the tests, the others where there is time."""
    for path in sorted(NOTEBOOKS.glob("*.py")):
        yield pytest.param(path, id=path.stem, marks=[] if path.stem.startswith("01") else [pytest.mark.slow])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", notebooks())
def test_a_notebook_runs_and_its_figures_are_drawn(path, kernel, tmp_path):
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    errors = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert errors == []
    drawn = [cell for cell in cells if "md.plot(" in cell.source]
    assert drawn
    for cell in drawn:
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        assert "image/png" in kinds, cell.source
    shown = [cell for cell in cells if cell.source.splitlines()[-1] in ("acts", "comparison", "task")]
    assert shown
    for cell in shown:
        assert any("text/html" in output.get("data", {}) for output in cell.outputs), cell.source
