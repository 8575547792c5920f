"""Spliced: what a model still does when the reconstruction stands in for the activations, beside zero and mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mechdecouple import stats
from mechdecouple.behavior import Answers, prepare
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.extract.pick import check_position
from mechdecouple.models import HookedModel, encode
from mechdecouple.progress import bar
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae._source import reading
from mechdecouple.sae._splice import Mean, Places, edits_of, rebuilt_of
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.stats import Replicates
from mechdecouple.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from mechdecouple.sae.evaluate import Dictionary

_FLOORS = ("zero", "mean")
STATES = ("clean", "spliced", *_FLOORS)
"""What stands at the hook point: the activations themselves, their reconstruction, zero, or their mean."""

SAE_LOSS_RECOVERED = Metric(
    name="sae_loss_recovered",
    family="sae",
    title="SAE: loss recovered",
    measures="share of the loss that ablating the hook point costs which reconstructions in its place win back",
    range="(−∞, ∞)",
    direction="higher",
    null="0: no better than the ablation (its kind is the context); 1: the model loses nothing",
    assumes="the ablation costs loss; zero lies far from all activations, so that the share above it flatters",
    source="2404.16014",
)
SAE_ACCURACY_RECOVERED = Metric(
    name="sae_accuracy_recovered",
    family="sae",
    title="SAE: accuracy recovered",
    measures="share of the accuracy that ablating the hook point costs which reconstructions in its place win back",
    range="(−∞, ∞)",
    direction="higher",
    null="0: no better than the ablation (its kind is the context); 1: the model loses nothing",
    assumes="the ablation costs accuracy",
    source="2404.16014",
)
SAE_SPLICED_LOSS = Metric(
    name="sae_spliced_loss",
    family="sae",
    title="SAE: loss of the model with it",
    measures="cross-entropy in nats of the right answer, or of a text's tokens, with the activations, reconstructions, "
    "zero or the mean (the context) at the hook point",
    range="[0, ∞)",
    direction="lower",
    null="the loss under ablation",
)
SAE_SPLICED_ACCURACY = Metric(
    name="sae_spliced_accuracy",
    family="sae",
    title="SAE: accuracy of the model with it",
    measures="accuracy with the activations, reconstructions, zero or the mean (the context) at the hook point",
    range="[0, 1]",
    direction="higher",
    null="the accuracy under ablation",
)
_LEVELS = {"loss": SAE_SPLICED_LOSS, "accuracy": SAE_SPLICED_ACCURACY}
_RECOVERED = {"loss": SAE_LOSS_RECOVERED, "accuracy": SAE_ACCURACY_RECOVERED}


@dataclasses.dataclass(frozen=True, eq=False)
class Spliced:
    """What a model does with reconstructions in place of its activations.

    Attributes:
        levels: quantity ("loss", "accuracy") -> state ("clean", "spliced", "zero", "mean") -> its mean over items.
            Loss is the cross-entropy of the right option or class, or a token of the text.
        recovered: quantity -> floor ("zero", "mean") -> (floor − spliced)/(floor − clean). Undefined, with the reason,
            where the ablation has no clear cost or the task has no such quantity.
        replaced: number of activations that were replaced in one reading.
        model, hook_point, position: where.
    """

    levels: Mapping[str, Mapping[str, Estimate]]
    recovered: Mapping[str, Mapping[str, Estimate]]
    replaced: int
    model: str
    hook_point: str
    position: str

    def measurements(self) -> list[Measurement]:
        """Its rows of the table of results; the context is the state, or the floor."""
        place = {"model": self.model, "hook_point": self.hook_point, "position": self.position}
        return [
            Measurement(metric=metrics[quantity].name, family="sae", estimate=estimate, context=context, **place)
            for metrics, found in ((_RECOVERED, self.recovered), (_LEVELS, self.levels))
            for quantity, estimates in found.items()
            for context, estimate in estimates.items()
        ]

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a quantity and state or floor."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "context", "value", "low", "high", "n", "reason"]]
        return table.to_html(index=False, float_format="%.3f", border=0)


def spliced(
    sae: SparseAutoencoder | Dictionary,
    model: HookedModel,
    task: Task,
    hook_point: str | None = None,
    *,
    position: str = "all",
    special: bool = False,
    chat: bool = False,
    batch_tokens: int = 8192,
    max_new_tokens: int = 16,
    n_blocks: int = 20,
    seed: int = 0,
    progress: bool = False,
) -> Spliced:
    """Read the task's answers with x̂ in place of x at the hook point, and with zero and with the mean activation there.

    The mean is that of the replaced activations on these items. It is the stricter floor: zero is a state that the
    model never meets and often does more harm than knowing nothing. Intervals come from a delete-a-block jackknife over
    the task's groups, and are paired: all four readings lose the same groups.

    Args:
        hook_point: by default the one the SAE was trained on.
        position: which tokens are replaced: ``"all"`` (options and generated text included), ``"last"`` or a position
            column of the task. Take the one that the SAE was trained on.
        special: replace special tokens too; they are left as they are by default, as in extraction.
        chat, batch_tokens, max_new_tokens: as for reading answers.

    Raises:
        InputError: a position that names no token, an SAE of another width, reconstructions that are not finite.
        MismatchError: the SAE was trained on another model, by its weights, or at another hook point.
        ModelError, TaskError: the task cannot be read from the model.

    Example:
        >>> spliced(sae, model, task).recovered["loss"]["mean"]  # doctest: +SKIP
    """
    if position == "mean":
        raise InputError("a mean over tokens is nowhere in the model, so nothing can replace it; take 'all' or 'last'")
    check_position(task, position)
    hook_point = reading(sae, hook_point, model.hook_points)
    _check_model(sae, model)
    encoded = encode(model, task, chat=chat) if model.input_kind == "tokens" else None
    options = {"chat": chat, "batch_tokens": batch_tokens, "max_new_tokens": max_new_tokens}
    read = prepare(model, task, encoded=encoded, **options)
    where = None if encoded is None else Places(encoded, task, position, special)

    seen = Mean()
    found: dict[str, Answers] = {}
    for state in bar(STATES, progress=progress, desc="spliced", unit="reading"):
        replace: dict[str, Callable[[Tensor], Tensor]] = {
            "clean": seen,
            "spliced": lambda rows: rebuilt_of(sae, rows, f"hook point {hook_point!r} of model {model.name!r}"),
            "zero": torch.zeros_like,
            "mean": lambda rows: seen.mean(rows).expand_as(rows),
        }
        found[state] = read(edits_of(hook_point, replace[state], where))
    blocks = stats.jackknife_blocks(task.groups, n_blocks, seed)
    levels, recovered = {}, {}
    for quantity in _LEVELS:
        levels[quantity], recovered[quantity] = _compared(quantity, found, task, blocks)
    return Spliced(levels, recovered, seen.count, model.name, hook_point, position)


def _check_model(sae: SparseAutoencoder | Dictionary, model: HookedModel) -> None:
    trained = (sae.training.get("source") or {}).get("model") if isinstance(sae, SparseAutoencoder) else None
    weights = (trained or {}).get("weight_hash")
    if trained and weights and weights != model.weight_hash:
        raise MismatchError(
            f"this SAE was trained on model {trained.get('name')!r}, not on {model.name!r}, whose weights differ; "
            "train one on it"
        )


def _compared(
    quantity: str, found: Mapping[str, Answers], task: Task, blocks: np.ndarray
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Levels by state and shares recovered by floor, of one quantity."""
    read = _losses if quantity == "loss" else _right
    parts = []
    for state in STATES:
        part = read(found[state], task)
        if isinstance(part, str):
            return {s: Estimate.undefined(part) for s in STATES}, {f: Estimate.undefined(part) for f in _FLOORS}
        parts.append(part)
    values, weights = np.column_stack([value for value, _ in parts]), parts[0][1]
    n_groups = len(np.unique(task.groups))

    def level(rows: np.ndarray) -> np.ndarray:
        return values[rows].sum(0) / weights[rows].sum()

    def share(rows: np.ndarray) -> np.ndarray:
        clean, spliced, *floors = level(rows)
        cost = np.array(floors) - clean
        return np.divide(floors - spliced, cost, out=np.full(len(cost), np.nan), where=cost != 0)

    levels, shares = (stats.jackknife(statistic, blocks, n_groups) for statistic in (level, share))
    sign = 1 if quantity == "loss" else -1
    recovered = {}
    for i, floor in enumerate(_FLOORS):
        reason = _costless((levels[2 + i] - levels[0]) * sign, quantity, floor)
        found_share = Replicates(np.nan, np.zeros(0), "jackknife", n_groups) if reason else shares[i]
        recovered[floor] = found_share.estimate(_RECOVERED[quantity], null=0.0, reason=reason)
    return {state: _level(levels[i], quantity) for i, state in enumerate(STATES)}, recovered


def _level(found: Replicates, quantity: str) -> Estimate:
    """A mean that cannot be below zero, and so its interval is not either."""
    estimate = found.estimate(_LEVELS[quantity])
    return dataclasses.replace(estimate, low=estimate.low if np.isnan(estimate.low) else max(0.0, estimate.low))


def _costless(cost: Replicates, quantity: str, floor: str) -> str:
    """Why nothing can be recovered; empty where the ablation has a cost that is clear of zero."""
    low, high = cost.interval()
    if cost.value > 0 and not low <= 0:
        return ""
    spread = "" if np.isnan(low) else f" [{low + 0.0:.3g}, {high + 0.0:.3g}]"
    found = f"{floor} ablation costs {cost.value + 0.0:.3g}{spread} of {quantity}"
    return f"{found}, not clearly more than 0: there is nothing to win back"


def _losses(answers: Answers, task: Task) -> tuple[np.ndarray, np.ndarray] | str:
    """Nats and the tokens or answers they were taken on, of each item; or why there are none."""
    if answers.reason:
        return answers.reason
    if answers.nats is not None:
        assert answers.n_tokens is not None
        return answers.nats, answers.n_tokens
    if answers.logp is None or task.answers is None:
        return f"answers of performance {task.performance!r} have no probability here"
    right = task.answers
    if task.choices is not None:
        right = [c.index(a) for c, a in zip(task.choices, task.answers.tolist(), strict=True)]
    return -answers.logp[np.arange(len(answers)), np.asarray(right, int)], np.ones(len(answers))


def _right(answers: Answers, task: Task) -> tuple[np.ndarray, np.ndarray] | str:
    """1 or 0 for right or wrong, and one, of each item; or why there are none."""
    if answers.reason:
        return answers.reason
    if answers.correct is None:
        return f"items of performance {task.performance!r} are not right or wrong"
    return answers.correct.astype(np.float64), np.ones(len(answers))
