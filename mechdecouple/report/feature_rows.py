"""The rows of the feature page: each latent in words and numbers, and which latents there is room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mechdecouple.errors import InputError
from mechdecouple.report.feature_examples import short
from mechdecouple.report.view import Table, number, sentence

SIDES = ("a", "b")
KINDS = ("shared", "split", "merged", "unstable", "only")
KNOWS = ("represented only", "expressed only", "both")
_NUMBERS = (
    "correlation", "correlation_low", "correlation_high", "correlation_null", "density", "attribution",
    "attribution_low", "attribution_high", "ablation", "ablation_low", "ablation_high", "ablation_null", "represented",
    "represented_low", "represented_high", "expressed", "expressed_low", "expressed_high",
)  # fmt: skip
FEATURES = ("side", "model", "hook_point", "latent", "kind", "partners", *_NUMBERS, "matters", "knows", "reason")
EXAMPLES = ("side", "latent", "rank", "id", "activation", "tokens", "strengths", "prompt")
_NAMED = 8
"""How many partners and items a row names."""

Facts = dict[str, Any]


def check(features: Table, examples: Table) -> None:
    """Refuses tables that the page cannot be made from.

    Raises:
        InputError: a column is missing, a latent is there twice, a word is not known, or tokens and strengths differ
            in number.
    """
    checked = [("features", features, FEATURES), *([("examples", examples, EXAMPLES)] if len(examples) else [])]
    for name, table, columns in checked:
        missing = [column for column in columns if column not in table]
        if missing:
            raise InputError(f"the table of {name} has no column {missing[0]!r}: it needs {', '.join(columns)}")
    twice = features.duplicated(["side", "latent"])
    if twice.any():
        row = features[twice].iloc[0]
        raise InputError(f"latent {row.latent} of side {row.side!r} is in the table of features twice: keep one row")
    for column, known in (("side", SIDES), ("kind", KINDS), ("knows", ("", *KNOWS))):
        other = features[column][~features[column].isin(known)]
        if len(other):
            raise InputError(f"{column} {other.iloc[0]!r} is not known: there are {', '.join(map(repr, known))}")
    for row in examples.itertuples():
        if len(row.tokens) != len(row.strengths):
            raise InputError(
                f"item {row.id!r} of latent {row.latent} ({row.side}) has {len(row.tokens)} tokens and "
                f"{len(row.strengths)} strengths: give one strength a token"
            )


def weight(features: Table) -> np.ndarray:
    """Size of a latent's effect on the answers [n]: of its ablation, else of its attribution; −1 where unknown."""
    ablation, attribution = features.ablation.abs(), features.attribution.abs()
    return ablation.fillna(attribution).fillna(-1.0).to_numpy(float)


def chosen(features: Table, examples: Table, most: int) -> Table:
    """At most ``most`` latents: of each model, kind and knowledge in turn the one of the largest effect.

    Those with examples come before those without. In order of the size of their attribution, the largest first.
    """
    ranked = features.assign(weight=weight(features))
    if len(examples):
        seen = set(zip(examples.side, examples.latent, strict=True))
        lacks = [key not in seen for key in zip(features.side, features.latent, strict=True)]
        ranked.loc[lacks, "weight"] = -2.0
    turn = ranked.groupby(["side", "kind", "knows"]).weight.rank(ascending=False, method="first")
    kept = ranked.assign(turn=turn).sort_values(["turn", "weight"], ascending=[True, False], kind="stable").head(most)
    size = kept.attribution.abs().fillna(-1.0)
    kept = kept.assign(size=size).sort_values(["size", "side", "latent"], ascending=[False, True, True])
    return kept.drop(columns=["weight", "turn", "size"])


def parts(reason: str) -> list[str]:
    return [part for part in str(reason or "").split("; ") if part]


def common_reasons(features: Table) -> dict[str, list[str]]:
    """What the reasons of all latents of a model have in common."""
    found: dict[str, list[str]] = {}
    for side, of in features.groupby("side"):
        first, *others = [parts(reason) for reason in of.reason.unique()]
        found[side] = [part for part in first if all(part in other for other in others)]
    return found


def latent_rows(
    features: Table, examples: Mapping[tuple[str, int], list[Facts]], said: Mapping[str, Sequence[str]]
) -> list[Facts]:
    """Each latent's row of the page.

    Args:
        examples: of each latent those shown; said: by model, reasons that the page gives elsewhere.
    """
    here = set(zip(features.side, features.latent, strict=True))
    return [
        _latent(row, here, examples.get((row.side, row.latent), []), said[row.side]) for row in features.itertuples()
    ]


def _latent(row, here: set[tuple[str, int]], examples: list[Facts], said: Sequence[str]) -> Facts:
    other = SIDES[row.side == "a"]
    reason = "; ".join(part for part in parts(row.reason) if part not in said)
    partners = [int(partner) for partner in row.partners]
    nulls = [
        f"{words} {number(value)}"
        for words, value in (
            ("the best match by chance", row.correlation_null),
            ("ablating a random direction of its length ±", row.ablation_null),
        )
        if math.isfinite(value)
    ]
    return {
        "anchor": f"{row.side}-{row.latent}",
        "label": f"{row.side.upper()} {row.latent}",
        "side": row.side,
        "kind": row.kind,
        "kind_order": KINDS.index(row.kind),
        "knows": row.knows,
        "knows_order": KNOWS.index(row.knows) if row.knows else "",
        "partners": [
            {"label": f"{other.upper()} {p}", "anchor": f"{other}-{p}" if (other, p) in here else ""}
            for p in partners[:_NAMED]
        ],
        "more_partners": max(0, len(partners) - _NAMED),
        "correlation": cell(row, "correlation"),
        "density": {"value": _percent(row.density), "range": "", "key": _key(row.density)},
        # effects are ordered by size: what pulls the answer either way matters
        "attribution": cell(row, "attribution", signed=True, size=True),
        "ablation": cell(row, "ablation", signed=True, size=True),
        "represented": cell(row, "represented"),
        "expressed": cell(row, "expressed"),
        "place": short(row.hook_point),
        "nulls": "; ".join(nulls),
        "matters": [short(item) for item in row.matters[:_NAMED]],
        "more_matters": max(0, len(row.matters) - _NAMED),
        "reason": short(sentence(reason)) if reason else "",
        "examples": examples,
    }


def cell(row, name: str, signed: bool = False, size: bool = False) -> dict[str, str]:
    """A number of a latent in words, its interval, and the key that it is ordered by (empty where undefined)."""
    value, low, high = getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
    known = math.isfinite(value) and math.isfinite(low)
    return {
        "value": number(value, signed=signed),
        "range": f"[{number(low, signed=signed)}, {number(high, signed=signed)}]" if known else "",
        "key": _key(abs(value) if size else value),
    }


def _key(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %" if math.isfinite(value) else "–"
