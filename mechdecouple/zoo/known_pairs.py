"""Pairs of models whose mechanisms are known to be the same or other, by the route and by the variables of the answer,
each with the device that forces it.

Frequencies and representations named here are those that the answers were found to be made of (`modular`,
`group_world`); training is the same for the same seed, machine and versions, and `KnownPair.doubt` looks again.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Literal

import torch

from mechdecouple.models import HookedModel, wrap
from mechdecouple.tasks import Task
from mechdecouple.zoo import store
from mechdecouple.zoo._pairs import PairRecipe, pair_logits
from mechdecouple.zoo.copies import Kind, copied
from mechdecouple.zoo.group_world import Composer, key_representations
from mechdecouple.zoo.modular import attention_share, key_frequencies
from mechdecouple.zoo.recipes import find

Answer = Literal["same", "other"]
_MULTIPLIES = 0.05
"""Least share of the logits that changes with the attention patterns of a model whose attention multiplies."""


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A model of the zoo, or a copy of one.

    Attributes:
        name, seed: of the recipe.
        copy: how it was copied, with `copy_seed`; None for the model itself.
    """

    name: str
    seed: int = 0
    copy: Kind | None = None
    copy_seed: int = 0

    @property
    def label(self) -> str:
        """Unique, e.g. ``"clock@1 rotated"``."""
        return f"{self.name}@{self.seed}" + (f" {self.copy}" if self.copy else "")

    @property
    def shipped(self) -> bool:
        """Whether it is there without training."""
        return self.seed in store.shipped_seeds(self.name)

    def load(self, progress: bool = False) -> HookedModel:
        """The model, trained now and cached where it is not there."""
        from mechdecouple import zoo

        model = zoo.load(self.name, self.seed, progress)
        return wrap(model if self.copy is None else copied(model, self.copy, self.copy_seed), name=self.label)


@dataclasses.dataclass(frozen=True)
class KnownPair:
    """Two models, and what is true of their mechanisms.

    Attributes:
        a, b: the models.
        route: whether the same parts and inputs carry the answer.
        variables: whether the same is represented on the way.
        why: the device that forces it.
    """

    a: Specimen
    b: Specimen
    route: Answer
    variables: Answer
    why: str

    @property
    def name(self) -> str:
        return f"{self.a.label} / {self.b.label}"

    @property
    def copy(self) -> bool:
        """Whether one is a copy of the other."""
        return (self.a.name, self.a.seed) == (self.b.name, self.b.seed)

    @property
    def shipped(self) -> bool:
        """Whether both are there without training."""
        return self.a.shipped and self.b.shipped

    def load(self, progress: bool = False) -> tuple[HookedModel, HookedModel]:
        return self.a.load(progress), self.b.load(progress)

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        """The task of both."""
        return find(self.a.name).task(n, seed)

    def doubt(self) -> str:
        """What speaks against the answers in the weights of the models that were trained; empty where nothing does."""
        if self.copy:
            return ""
        for one in (self.a, self.b):
            recipe = find(one.name)
            if isinstance(recipe, PairRecipe) and not recipe.uniform and not isinstance(recipe, Composer):
                share = attention_share(one.load().module)
                if share < _MULTIPLIES:
                    return f"{one.label}: only {share:.2f} of its logits change with its attention"
        if self.variables == "same" or self.route == "other":
            return ""
        shared = set(keys(self.a)) & set(keys(self.b))
        return f"both use {', '.join(map(str, sorted(shared)))}" if shared else ""


@lru_cache(maxsize=64)
def keys(specimen: Specimen) -> tuple[Any, ...]:
    """The frequencies or representations that the answers of an adder or a group model are made of; none for others."""
    recipe = find(specimen.name)
    if not isinstance(recipe, PairRecipe):
        return ()
    with torch.no_grad():
        logits = pair_logits(specimen.load().module).double().numpy()
    return key_representations(logits) if isinstance(recipe, Composer) else key_frequencies(logits)


def _copies() -> list[KnownPair]:
    thorough = ("clock", "pizza", "group-1-3", "through", "relay")
    kinds: list[tuple[str, int, Kind]] = [
        *((name, 0, kind) for name in thorough for kind in ("rotated", "permuted", "duplicated")),
        ("clock", 1, "rotated"), ("pizza", 1, "duplicated"), ("around", 0, "rotated"), ("direct", 0, "permuted"),
    ]  # fmt: skip
    whys = {
        "rotated": "the same function in another basis",
        "permuted": "the same function with its parts in another order",
        "duplicated": "the same function with each head and neuron twice",
    }
    return [
        KnownPair(Specimen(name, seed), Specimen(name, seed, kind, copy_seed=1), "same", "same", whys[kind])
        for name, seed, kind in kinds
    ]


def _pairs(route: Answer, variables: Answer, why: str, *pairs: tuple[str, str]) -> list[KnownPair]:
    return [KnownPair(_specimen(a), _specimen(b), route, variables, why) for a, b in pairs]


def _specimen(label: str) -> Specimen:
    name, _, seed = label.partition("@")
    return Specimen(name, int(seed))


KNOWN_PAIRS: tuple[KnownPair, ...] = (
    *_copies(),
    *_pairs(
        "same", "same", "two seeds with one way open and a readout that takes the two totals",
        ("through@0", "through@1"), ("around@0", "around@1"), ("direct@0", "direct@1"), ("early@0", "early@1"),
        ("relay@0", "relay@1"), ("relay@1", "relay@2"),
    ),
    *_pairs(
        "same", "other", "full attention; the seeds came to use frequencies that are not each other's",
        ("clock@0", "clock@3"), ("clock@1", "clock@3"), ("clock@4", "clock@5"),
    ),
    *_pairs(
        "same", "other", "uniform attention; the seeds came to use frequencies that are not each other's",
        ("pizza@0", "pizza@3"), ("pizza@1", "pizza@4"),
    ),
    *_pairs(
        "same", "other", "the same attention; the unembedding is kept to other frequencies",
        ("clock-1-6-11@0", "clock-3-8-13@0"), ("clock-1-6-11@1", "clock-3-8-13@0"),
        ("clock-1-6-11@0", "clock-3-8-13@1"), ("pizza-1-6-11@0", "pizza-3-8-13@0"),
        ("pizza-1-6-11@1", "pizza-3-8-13@0"), ("pizza-1-6-11@0", "pizza-3-8-13@1"),
    ),
    *_pairs(
        "same", "other", "embedding and unembedding are kept to other irreducible representations",
        ("group-1-3@0", "group-4-6@0"), ("group-1-3@0", "group-2-5@0"), ("group-1-3@1", "group-2-5@1"),
        ("group-1-3@1", "group-4-6@1"), ("group-2-5@0", "group-4-6@1"), ("group-2-5@1", "group-4-6@0"),
    ),
    *_pairs(
        "other", "same", "the way through the hidden layer is shut in one, the way around it in the other; one readout",
        ("through@0", "around@0"), ("through@0", "around@1"), ("through@1", "around@0"), ("through@1", "around@1"),
    ),
    *_pairs(
        "other", "same", "attention masks leave one path, another in each; one readout",
        ("direct@0", "early@0"), ("direct@0", "relay@0"), ("early@0", "relay@0"), ("direct@1", "early@0"),
        ("direct@0", "relay@1"), ("early@1", "relay@0"), ("direct@1", "relay@1"), ("early@1", "relay@1"),
    ),
    *_pairs(
        "other", "other", "attention that can multiply waves against uniform attention, which can only add them",
        ("clock@0", "pizza@0"), ("clock@0", "pizza@1"), ("clock@1", "pizza@0"), ("clock@1", "pizza@1"),
        ("clock@3", "pizza@0"), ("clock@4", "pizza@5"), ("clock@5", "pizza@2"),
    ),
)  # fmt: skip
"""Every pair, those of one kind together."""
