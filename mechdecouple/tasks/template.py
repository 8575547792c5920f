"""Templates: few-shot examples, instructions and system text around each prompt."""

from __future__ import annotations

import string

import pandas as pd

from mechdecouple.tasks.refuse import Where, is_missing, near, plain


def fields(template: str, where: Where) -> list[str]:
    """The column names a template asks for.

    Only plain ``{column}`` fields are allowed: a template comes from the user's input, and attribute or index access
    would reach into objects.

    Raises:
        TaskError: unbalanced braces, a field that is not a plain column name or not a column, no field at all.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as e:
        raise where.table_error(f"template: {e}; write {{{{ and }}}} for literal braces") from None
    names = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise where.table_error(f"template: field {name!r} is not a plain column name; write e.g. {{prompt}}")
        if name not in where.table.columns:
            known = ", ".join(map(str, where.table.columns))
            raise where.table_error(
                f"template: no column {name!r}{near(name, where.table.columns)}; columns are {known}"
            )
        names.append(name)
    if not names:
        raise where.table_error(
            "template: has no field, so all prompts would be the same; put {prompt} where it belongs"
        )
    return list(dict.fromkeys(names))


def apply(template: str | None, system: str | None, where: Where) -> pd.Series:
    """Each row's prompt: ``system`` as a paragraph of its own, then the template filled from the row's columns."""
    table = where.table
    if template is None:
        prompts = table["prompt"].tolist()
    else:
        names = fields(template, where)
        columns = [[plain(v) for v in table[name].tolist()] for name in names]
        for name, column in zip(names, columns, strict=True):
            for row, value in enumerate(column):
                if is_missing(value):
                    where.cell(row, name, "is empty, but the template uses it; fill it or drop the row")
        prompts = [template.format_map(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
    if system:
        prompts = [f"{system}\n\n{p}" if isinstance(p, str) else p for p in prompts]
    return pd.Series(prompts, dtype=object)
