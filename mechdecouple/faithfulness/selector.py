"""Selectors: networks that learn which features explain an answer, and the check that they do not encode it."""

from __future__ import annotations

import copy
import dataclasses
import html
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.progress import bar
from mechdecouple.results import Measurement, Metric, frame
from mechdecouple.stats import Replicates

SELECTED_ACCURACY = Metric(
    name="selected_accuracy", family="faithfulness", title="accuracy from selected features", range="[0, 1]",
    measures="share of right answers of an evaluator that has seen features hidden at random, when it is given those "
    "that the selector keeps",
    direction="higher",
    null="the same for as many features kept at random",
    assumes="the evaluator is as good as can be on every subset of features",
    source="arXiv:2103.01890",
)  # fmt: skip
ENCODED = dataclasses.replace(
    SELECTED_ACCURACY,
    name="encoded_accuracy",
    title="answers encoded in the selection",
    range="[-1, 1]",
    measures="accuracy of the predictor that the selector was trained with less that of the evaluator, on the same "
    "features: what is told by which features are kept, and not by what they hold",
    direction="lower",
    null="0: the selection tells nothing but what it shows",
)
SELECTED_SHARE = Metric(
    name="selected_share", family="faithfulness", title="share of features kept", range="[0, 1]",
    measures="share of the features that the selector keeps", direction="lower",
    null="none: how many are kept follows from the weight on sparsity", source="arXiv:2103.01890",
)  # fmt: skip
METRICS = (SELECTED_ACCURACY, ENCODED, SELECTED_SHARE)
Way = Literal["apart", "together", "given"]


@dataclasses.dataclass(frozen=True, eq=False)
class Selector:
    """A trained selector with its predictor.

    Attributes:
        network: items [b, t, ...] -> logit that each feature is kept [b, t].
        predictor: items with hidden features -> logits of the classes [b, c].
        hidden: what stands where a feature is hidden. way: how the predictor was trained.
    """

    network: nn.Module
    predictor: nn.Module
    hidden: float
    way: Way

    def probabilities(self, x: Tensor) -> Float[np.ndarray, "n t"]:
        """That each feature is kept: an attribution of each item."""
        with torch.no_grad():
            return torch.sigmoid(self.network(x)).double().cpu().numpy()

    def keeps(self, x: Tensor) -> Bool[np.ndarray, "n t"]:
        """Which features are kept: those that are more likely to be than not."""
        return self.probabilities(x) > 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class SelectionCheck:
    """What a selector's features tell an evaluator.

    Attributes:
        accuracy: with what: ``own`` (the predictor with the kept features), ``selected`` (the evaluator with them),
            ``random`` (with as many at random), ``whole`` (with all).
        share: of the features that is kept. name: of the selector, for tables.
    """

    name: str
    accuracy: Mapping[str, Replicates]
    share: Replicates

    def measurements(self) -> list[Measurement]:
        own, selected, random = (self.accuracy[key] for key in ("own", "selected", "random"))
        p = float((selected - random).p_above(0.0))
        found = (
            selected.estimate(SELECTED_ACCURACY, null=float(random.value), p=p),
            (own - selected).estimate(ENCODED, null=0.0, p=float((own - selected).p_above(0.0))),
            self.share.estimate(SELECTED_SHARE),
        )
        return [
            Measurement(metric=m.name, family=m.family, estimate=e, model=self.name)
            for m, e in zip(METRICS, found, strict=True)
        ]

    def frame(self) -> pd.DataFrame:
        """One row a measurement (columns: ``mechdecouple.results.COLUMNS``)."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        rows = pd.DataFrame({"with": list(self.accuracy), "accuracy": [r.value for r in self.accuracy.values()]})
        return f"<p>{html.escape(self.name)}: keeps {self.share.value:.1%}</p>{rows.to_html(index=False, border=0)}"


def fit_selector(
    x: Shaped[Tensor, "n t *rest"],
    labels: Int[Tensor, " n"],
    *,
    selector: nn.Module,
    predictor: nn.Module,
    way: Way = "apart",
    sparsity: float = 0.1,
    growth: float = 0.0,
    hidden: float = 0,
    steps: int = 1000,
    batch: int = 128,
    lr: float = 3e-3,
    draws: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> Selector:
    """Learn which features to keep so that the labels are told from them, and few of them.

    Maximises the log-likelihood of the label given features kept by independent coins, less ``sparsity`` times their
    share; the gradient through the coins is the score function with the other draws as its baseline (unbiased).
    ``apart``: the predictor is trained first, on features hidden at random, and then held (REAL-X). ``given``: it has
    been trained so already, and is held. ``together``: both are trained at once, which lets the selector encode the
    label in what it keeps.

    Args:
        x: features, [n, t] or [n, t, d]; token ids or numbers. labels: the answers to explain: a model's own, or the
            right ones.
        selector, predictor: copies of them are trained, but for a predictor that is given.
        growth: share of the steps over which the weight on sparsity grows from zero; a price that is there before
            anything can be told from features leads to keeping none.
        hidden: what stands where a feature is hidden: a mask token, or a number.
        draws: of coins an item and step, at least 2.

    Raises:
        InputError: an unknown way, or numbers out of range.
    """
    if way not in get_args(Way):
        raise InputError(
            f"way {way!r} is unknown; train the predictor 'apart' or 'together' with the selector, or have it 'given'"
        )
    if draws < 2 or steps < 1 or batch < 1 or not 0 <= sparsity < float("inf"):
        raise InputError(
            f"draws {draws}, steps {steps}, batch {batch}, sparsity {sparsity}: expected 2, 1, 1, 0 or more"
        )
    if not 0 <= growth <= 1:
        raise InputError(f"growth is {growth}: expected a share of the steps, between 0 and 1")
    network = copy.deepcopy(selector)
    if way == "apart":
        own = fit_evaluator(
            x, labels, evaluator=predictor, hidden=hidden, steps=steps, batch=batch, lr=lr, seed=seed, progress=progress
        )
    else:
        own = copy.deepcopy(predictor).requires_grad_(way == "together")
    trained = [*network.parameters(), *(own.parameters() if way == "together" else ())]
    optimiser = torch.optim.Adam(trained, lr=lr)
    coins = torch.Generator(device="cpu").manual_seed(seed + 1)
    for step, rows in enumerate(bar(list(_batches(len(x), batch, steps, seed)), progress=progress, desc="selector")):
        inputs, y = x[rows], labels[rows]
        price = sparsity * min(1.0, step / (growth * steps)) if growth else sparsity
        logits = network(inputs)
        p = torch.sigmoid(logits)
        kept = torch.rand((draws, *p.shape), generator=coins).to(p.device) < p.detach()
        repeated = inputs.repeat(draws, *(1,) * (inputs.ndim - 1))
        said = nn.functional.log_softmax(own(conceal(repeated, kept.flatten(0, 1), hidden)), dim=1)
        told = said.gather(1, y.repeat(draws)[:, None]).reshape(draws, -1)
        reward = told.detach()
        advantage = (reward - reward.mean(dim=0)) * draws / (draws - 1)
        coin = -nn.functional.binary_cross_entropy_with_logits(
            logits.expand_as(kept), kept.to(logits.dtype), reduction="none"
        )
        loss = -(advantage * coin.sum(dim=2)).mean() + price * p.mean(dim=1).mean()
        if way == "together":
            loss = loss - told.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Selector(network.eval(), own.eval(), hidden, way)


def fit_evaluator(
    x: Shaped[Tensor, "n t *rest"],
    labels: Int[Tensor, " n"],
    *,
    evaluator: nn.Module,
    hidden: float = 0,
    steps: int = 1000,
    batch: int = 128,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = True,
) -> nn.Module:
    """Train a copy of a classifier on items of which each feature is hidden with probability ½, so that it knows every
    subset of features (EVAL-X, arXiv:2103.01890)."""
    own = copy.deepcopy(evaluator)
    optimiser = torch.optim.Adam(own.parameters(), lr=lr)
    coins = torch.Generator(device="cpu").manual_seed(seed)
    for rows in bar(list(_batches(len(x), batch, steps, seed)), progress=progress, desc="evaluator"):
        inputs, y = x[rows], labels[rows]
        kept = torch.rand(inputs.shape[:2], generator=coins).to(inputs.device) < 0.5
        loss = nn.functional.cross_entropy(own(conceal(inputs, kept, hidden)), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    return own.eval()


def check_selection(
    selector: Selector,
    evaluator: nn.Module,
    x: Shaped[Tensor, "n t *rest"],
    labels: Int[Tensor, " n"],
    groups: np.ndarray,
    *,
    name: str = "selector",
    blocks: int = 20,
    seed: int = 0,
) -> SelectionCheck:
    """Give an evaluator of its own, trained by `fit_evaluator`, what a selector keeps of items that neither has seen.

    Raises:
        InputError: groups that do not fit the items.
    """
    if len(groups) != len(x):
        raise InputError(f"{len(groups)} groups for {len(x)} items; give one an item")
    keeps = selector.keeps(x)
    rng = np.random.default_rng(seed)
    shuffled = np.take_along_axis(keeps, rng.random(keeps.shape).argsort(axis=1), axis=1)
    answers = {
        "own": (selector.predictor, keeps),
        "selected": (evaluator, keeps),
        "random": (evaluator, shuffled),
        "whole": (evaluator, np.ones_like(keeps)),
    }
    truth = labels.cpu().numpy()
    right = []
    for network, kept in answers.values():
        with torch.no_grad():
            said = network(conceal(x, torch.from_numpy(kept).to(x.device), selector.hidden)).argmax(dim=1)
        right.append(said.cpu().numpy() == truth)
    table = np.stack([*right, keeps.mean(axis=1)], axis=1).astype(float)
    plan = stats.jackknife_blocks(groups, blocks, seed)
    found = stats.jackknife(lambda rows: table[rows].mean(axis=0), plan, len(np.unique(groups)))
    return SelectionCheck(name, {key: found[i] for i, key in enumerate(answers)}, found[len(answers)])


def conceal(x: Shaped[Tensor, "b t *rest"], kept: Bool[Tensor, "b t"], hidden: float) -> Shaped[Tensor, "b t *rest"]:
    """Items with what is not kept replaced."""
    where = kept.reshape(*kept.shape, *(1,) * (x.ndim - 2))
    return torch.where(where, x, torch.full((), hidden, dtype=x.dtype, device=x.device))


def _batches(n: int, batch: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Rows of each step: passes over all items in random order."""
    order = torch.Generator(device="cpu").manual_seed(seed)
    queue = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(queue) < min(batch, n):
            queue = torch.cat([queue, torch.randperm(n, generator=order)])
        yield queue[: min(batch, n)]
        queue = queue[min(batch, n) :]
