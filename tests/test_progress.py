import io
import sys

from mechdecouple.progress import bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_drawn_in_a_terminal_and_never_into_a_log(monkeypatch):
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(bar(range(3), desc="work", file=stream)) == [0, 1, 2]
        assert ("work" in stream.getvalue()) is drawn


def test_no_bar_where_none_is_wanted(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(bar(range(3), progress=False, file=stream)) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_a_kernel_that_is_imported_but_does_not_run_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    list(bar(range(3), file=stream))
    assert stream.getvalue() == ""
