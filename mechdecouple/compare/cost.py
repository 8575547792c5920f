"""Cost: the forward passes that a comparison takes at most, part by part, told before it runs.

A pass is one sequence (or one array) once through one model; a backward pass is not counted beside its forward pass.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from mechdecouple import sae
from mechdecouple.behavior.options import encode_options
from mechdecouple.compare import answer_loss, dictionaries, gradients, robustness, weights
from mechdecouple.compare.alignment import alignment_rows
from mechdecouple.compare.ancestry.weight_parts import blocks
from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.faithfulness import explaining
from mechdecouple.compare.families import JUDGED, NOISE_SITES
from mechdecouple.compare.features import MIN_GROUPS
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.latents import effects
from mechdecouple.compare.mechanism import items as mechanism_items
from mechdecouple.compare.pairing import choose_points, pair
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel, encode
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.structure.mechanism.cost import mechanism_cost
from mechdecouple.structure.weight_noise import NOISE_SIZES
from mechdecouple.tasks import Task

OPENED = 2
"""Items run to learn how wide the activations of a model are: before the comparison, and when they are asked for."""
_WEIGHT_DRAWS, _LATENT_DRAWS, _JOINT_DRAWS = 6, 4, 19
_STATED = 64
"""Items read to say how long comparing mechanisms will take."""
_HOOK_POINTS = {"structure", "robustness", "weights", "sae"}
_GRADIENTS = {"structure", "similarity", "robustness"}


@dataclasses.dataclass(frozen=True)
class CompareCost:
    """What a comparison takes at most.

    Attributes:
        passes: part of the comparison -> forward passes.
    """

    passes: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.passes.values())

    def frame(self) -> pd.DataFrame:
        """One row a part: part, passes."""
        return pd.DataFrame(list(self.passes.items()), columns=["part", "passes"])

    def _repr_html_(self) -> str:
        total = html.escape(f"{self.total:,} forward passes at most")
        return f"<p>{total}</p>{self.frame().to_html(index=False, border=0)}"


def compare_cost(
    a: HookedModel,
    b: HookedModel,
    task: Task,
    config: CompareConfig,
    *,
    seeds: tuple[Sequence[HookedModel], Sequence[HookedModel]] = ((), ()),
    stored: bool = False,
) -> CompareCost:
    """What :func:`mechdecouple.compare` takes at most with the same models, task and options.

    Args:
        seeds: the models of ``seeds_a`` and of ``seeds_b``.
        stored: whether the activations of A and B are there already.

    Raises:
        InputError: an option that cannot be used with these models and this task; ModelError, TaskError: they do not
            fit together.
    """
    points = choose_points(a, config.hook_points), choose_points(b, config.hook_points_b or config.hook_points)
    n_sites = len(pair(a, points[0], b, points[1]))
    spent = np.zeros(len(task), dtype=bool)
    if config.alignment == "similarity" and len(points[0]) != len(points[1]):
        spent = alignment_rows(task.groups, seed=config.seed)
    families = set(config.families)
    own = [_Side(m, task, config, p, slot, spent) for m, p, slot in ((a, points[0], "a"), (b, points[1], "b"))]
    further = [
        [_Side(m, task, config, side.points, side.slot, spent) for m in ms] for side, ms in zip(own, seeds, strict=True)
    ]
    judged = {family for family in JUDGED if family in families}
    parts = {
        "answers": sum(int(side.reads.sum()) for side in own),
        "activations": sum(OPENED + (0 if stored else side.extraction) for side in own),
        "hook points": sum(side.hook_points for side in own) if families & _HOOK_POINTS else 0,
        "gradients": sum(side.gradients for side in own) if families & _GRADIENTS else 0,
        "controls": sum(side.controls for side in own) if "controls" in families else 0,
        "robustness": sum(side.noise(n_sites) for side in own) if "robustness" in families else 0,
        "weights": sum(side.weights(n_sites) for side in own) if "weights" in families else 0,
        "ancestry": _grafts(own) if "ancestry" in families else 0,
        "sae": sum(side.autoencoders + side.latents for side in own) if "sae" in families else 0,
        "mechanism": _mechanism(own, config, seeds) if "mechanism" in families else 0,
        "faithfulness": sum(side.explanations for side in own) if "faithfulness" in families else 0,
        "seeds": sum(_relatives(side, more, n_sites, judged) for side, more in zip(own, further, strict=True)),
    }
    return CompareCost({part: passes for part, passes in parts.items() if passes})


class _Side:
    """One model on the task, and what each thing that is measured on it takes."""

    def __init__(
        self, model: HookedModel, task: Task, config: CompareConfig, points: tuple[str, ...], slot: str,
        spent: np.ndarray,
    ) -> None:  # fmt: skip
        self.model, self.task, self.config, self.points, self.spent = model, task, config, points, spent
        self.slot: Literal["a", "b"] = "b" if slot == "b" else "a"
        self._options: list[list[tuple[int, ...]]] = []
        if task.performance == "choice" and model.head in ("lm", "mlm"):
            encoded = encode(model, task, chat=config.chat)
            self._options = encode_options(model, task, encoded, chat=config.chat).tokens

    @cached_property
    def _sequences(self) -> np.ndarray:
        """Sequences that scoring each item's options takes [n], each option by itself where one has several tokens."""
        if not self._options:
            return np.ones(len(self.task), dtype=np.int64)
        return np.array([1 if all(len(ids) == 1 for ids in options) else len(options) for options in self._options])

    @cached_property
    def reads(self) -> np.ndarray:
        """Sequences that one reading of the answers runs at most [n]."""
        task, model = self.task, self.model
        silent = model.head is None or (model.head == "mlm" and task.performance != "choice")
        if task.scores is not None or silent:
            return np.zeros(len(task), dtype=np.int64)
        if task.performance == "generation":
            if task.tokens is not None and task.answers is not None:
                return np.array([len(answer.split()) for answer in task.answers])
            return np.full(len(task), self.config.max_new_tokens)
        return np.array([_runs(options) for options in self._options]) if self._options else self._sequences

    @property
    def extraction(self) -> int:
        """All items, and some of them again without hooks to tell the speed."""
        return extraction_passes(len(self.task))

    @cached_property
    def sample(self) -> int:
        """Items that the model is intervened on."""
        return min(self.config.probe_items, int(self._gate.sum()))

    @cached_property
    def once(self) -> int:
        """One reading of the sample."""
        return _most(self.reads[self._gate], self.sample)

    @property
    def hook_points(self) -> int:
        """The sample as it is, and with each hook point ablated."""
        return (1 + len(self.points)) * self.once

    @property
    def gradients(self) -> int:
        return min(gradients.LIMIT, self.sample) if self.speaks else 0

    def noise(self, n_sites: int) -> int:
        sites = min(NOISE_SITES, n_sites)
        return sites * len(robustness.SCALES) * robustness.DRAWS * self.once if self._choosing else 0

    def weights(self, n_sites: int) -> int:
        """Noise on the weights, their curvature and what they serve; ablation of units at a few hook points."""
        reads = 2 * (2 * weights.ORDERS * (weights.STEPS - 1) + 1)
        passes = min(NOISE_SITES, n_sites) * reads * self.once if self.task.performance != "loss" else 0
        if self._choosing:
            whole = min(answer_loss.LIMIT, self.sample)
            noise = 1 + 2 * _WEIGHT_DRAWS * len(NOISE_SIZES)
            halves = 2 + (0 if self.task.asks is None else 1 + weights.FRESH)
            passes += noise * self._scored(whole) + halves * self._scored(min(whole, answer_loss.LIMIT // 2))
            passes += self._scored(min(8, whole))
        return passes

    @property
    def controls(self) -> int:
        """A sample of whole groups through an untrained copy, and through the model's first hook point."""
        n = int(self._measured.sum())
        largest = np.sort(np.unique(self.task.groups[self._measured], return_counts=True)[1])[::-1]
        return 2 * (extraction_passes(min(n, max(self.config.probe_items, int(largest[:10].sum())))) + 1)

    @cached_property
    def autoencoders(self) -> int:
        """Held-out items as they are, with reconstructions in place, and with nothing and the mean in their place."""
        held = min(dictionaries.LIMIT, self._held)
        return dictionaries.SEEDS * 4 * _most(self.reads, held) if self.speaks else 0

    @property
    def latents(self) -> int:
        """What latents do to the answers: by their gradient, without each, without many; and where they fire."""
        held = min(effects.LIMIT, self._held)
        shown = extraction_passes(self._held) + self._held // 256 + 1 if self.model.input_kind == "tokens" else 0
        if not self._choosing:
            return shown
        once = self._scored(held)
        single = held * effects.MOST
        if self.config.position != "all":  # a row an item, on which few latents fire
            width = self.model.width(self.points[0])
            single = held * min(effects.MOST, Recipe(k=self.config.sae_k).filled(len(self.task), width).k or 0)
        each = max(self._sequences.max(initial=1), 1) * min(single, effects.MOST_PLACES)
        ranked = self._scored(effects.LIMIT)
        return shown + 2 * once + ranked + (1 + _LATENT_DRAWS) * int(each) + (1 + _JOINT_DRAWS) * once

    @property
    def explanations(self) -> int:
        """Explaining answers, and masking what the explanations name."""
        return explaining(self.model, self.task.select(np.flatnonzero(self._gate)), self.config) if self.speaks else 0

    @property
    def speaks(self) -> bool:
        """Whether it gives answers that can be intervened on."""
        return bool(self.reads.any())

    @property
    def _choosing(self) -> bool:
        return self.speaks and self.task.performance in ("choice", "class")

    @cached_property
    def _gate(self) -> np.ndarray:
        return gate_rows(self.task) & ~self.spent

    @cached_property
    def _measured(self) -> np.ndarray:
        return self.task.honest_mask & ~self.task.shift_mask & ~self.spent

    @cached_property
    def _held(self) -> int:
        """Items kept from the training of autoencoders; 0 where there are too few groups to train any."""
        groups = self.task.groups[self._measured]
        if len(np.unique(groups)) < MIN_GROUPS:
            return 0
        return int(sae.holdout(groups, share=1 / 3, seed=self.config.seed).sum())

    def _scored(self, n: int) -> int:
        """Sequences of the options of n items at most."""
        return _most(self._sequences, n)


def extraction_passes(n: int) -> int:
    """Passes of an extraction of n items at most: some run again without hooks, to tell the speed."""
    return n + -(-3 * n // 100)


def _runs(options: Sequence[tuple[int, ...]]) -> int:
    """Sequences that reading an item's options runs: what one needs before its last token may begin what another
    needs."""
    needs = {ids[:-1] for ids in options}
    return sum(not any(other != need and other[: len(need)] == need for other in needs) for need in needs)


def _most(counts: np.ndarray, n: int) -> int:
    return int(np.sort(counts)[::-1][:n].sum())


def _grafts(own: Sequence[_Side]) -> int:
    """Each block of one model in the other, both ways; their weights tell later whether they have one ancestor."""
    a, b = own
    if (a.model.architecture, a.model.n_params) != (b.model.architecture, b.model.n_params):
        return 0
    return (1 + len(blocks(a.model))) * (a.once + b.once)


def _mechanism(
    own: Sequence[_Side], config: CompareConfig, seeds: tuple[Sequence[HookedModel], Sequence[HookedModel]]
) -> int:
    a, b = own
    rows = np.flatnonzero(gate_rows(a.task) & ~a.spent)
    options = {"seeds_a": seeds[0], "seeds_b": seeds[1], "limit": mechanism_items(config), "seed": config.seed}
    try:
        cost = mechanism_cost(a.model, b.model, a.task.select(rows), timed=False, **options)
    except InputError:
        return 0
    return cost.total + _STATED


def _relatives(side: _Side, more: Sequence[_Side], n_sites: int, judged: Collection[str]) -> int:
    """Further seeds of one recipe: each is read, and every two of the recipe's models are held against each other."""
    passes = sum(OPENED + int(one.reads.sum()) + one.extraction for one in more)
    if _HOOK_POINTS.intersection(judged):
        passes += sum(one.hook_points for one in more)
    if _GRADIENTS.intersection(judged):
        passes += sum(one.gradients for one in more)
    if "robustness" in judged:
        passes += sum(x.noise(n_sites) + y.noise(n_sites) for x, y in combinations([side, *more], 2))
    if "faithfulness" in judged:
        passes += sum(one.explanations for one in more)
    if "sae" in judged and more:
        # The site is chosen for every two models, so that the first may need dictionaries at further ones.
        passes += sum(x.autoencoders + y.autoencoders for x, y in combinations([side, *more], 2))
    return passes
