import re

from mechdecouple.report.tables import escape, tables
from mechdecouple.report.view import View


def test_escape():
    assert escape(r"a_b & 50% \x {y} $z #1 ~ ^") == (
        r"a\_b \& 50\% \textbackslash{}x \{y\} \$z \#1 \textasciitilde{} \textasciicircum{}"
    )


def test_rows_have_as_many_cells_as_columns(whole):
    made = tables(View(whole))
    assert set(made) == {"gate.tex", "contrasts.tex", "structure.tex", "beliefs.tex"}
    for name, text in made.items():
        columns = re.search(r"begin\{tabular\}\{(\w+)\}", text).group(1)
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1, name
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows), name
        body = re.sub(r"\$(-|\\pm|\\varepsilon)\$", "", text.split(r"\toprule")[1])
        assert not re.search(r"(?<!\\)[_#%$^~]", body), name


def test_values(whole):
    made = tables(View(whole))
    assert "all items & 0.991 & 0.988 & +0.003 & [$-$0.003, +0.009] & equal" in made["gate.tex"]
    assert "lonely & 1.000 & 1.000 & -- & -- & unknown" in made["gate.tex"]


def test_tables_without_numbers_are_left_out(little):
    assert set(tables(View(little))) == {"gate.tex", "contrasts.tex"}
