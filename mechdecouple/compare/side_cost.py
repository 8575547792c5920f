"""SideCost: the forward passes that each thing measured on one model of a pair takes at most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from mechdecouple import sae
from mechdecouple.behavior.options import encode_options
from mechdecouple.compare import answer_loss, dictionaries, gradients, robustness, weights
from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.faithfulness import explaining
from mechdecouple.compare.families import NOISE_SITES
from mechdecouple.compare.features import MIN_GROUPS
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.latents import effects
from mechdecouple.models import HookedModel, encode
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.structure.weight_noise import NOISE_SIZES
from mechdecouple.tasks import Task

_WEIGHT_DRAWS, _LATENT_DRAWS, _JOINT_DRAWS = 6, 4, 19
"""Random draws: of noise on weights, of directions for single latents, of directions for many latents."""


class SideCost:
    """One model on the task, and what each thing that is measured on it takes.

    Args:
        points: hook points looked at; spent: [n] items that are left out of what is measured inside.
    """

    def __init__(
        self, model: HookedModel, task: Task, config: CompareConfig, points: tuple[str, ...], spent: np.ndarray
    ) -> None:
        self.model, self.task, self.config, self.points, self.spent = model, task, config, points, spent
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
