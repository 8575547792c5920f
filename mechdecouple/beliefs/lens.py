"""Logit lens: what a model would answer if an earlier layer were its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechdecouple.behavior import EditsFor, prepare
from mechdecouple.beliefs.reading import affirmed
from mechdecouple.models import Batch, Edit, HookedModel
from mechdecouple.tasks import Task


def logit_lens(
    model: HookedModel, task: Task, hook_points: Sequence[str], chat: bool = False
) -> tuple[dict[str, Float[np.ndarray, " n"]], str]:
    """Probability of asserting each statement, were each of these layers the last; or nothing, and why.

    The last layer's residual stream is replaced by the earlier one's, at every token; all that follows (the final
    normalisation, the head, the reading of options) is the model's own, so any kind of language model can be read.
    """
    if model.input_kind == "array":
        return {}, "a plain module has no residual stream that its head could read at every layer"
    last = model.layer_points[-1]
    reading = prepare(model, task, chat=chat)
    clean = reading(None)
    whole = affirmed(clean)
    if np.isnan(whole).any():
        return {}, clean.reason or clean.expressed_reason or "some items do not offer the affirming choice"
    found = {point: whole if point == last else affirmed(reading(_skip(point, last))) for point in hook_points}
    return found, ""


def _skip(early: str, last: str) -> EditsFor:
    """Edits that put the activations of an earlier hook point in the place of the last one's."""

    def edits(_batch: Batch, _items: np.ndarray, _last: np.ndarray | None) -> Mapping[str, Edit]:
        kept: list[Tensor] = []

        def keep(x: Tensor, _: Batch) -> Tensor:
            kept.append(x)
            return x

        return {early: keep, last: lambda _x, _: kept[0]}

    return edits
