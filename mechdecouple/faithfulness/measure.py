"""measure(model, task): how faithfully a model's answers can be explained by their inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.faithfulness.attribution import GRADIENTS, METHODS, STEPS, attribute, usable
from mechdecouple.faithfulness.curves import Curve, masking_curve, rationales, scores
from mechdecouple.faithfulness.erasure import BINS, drop
from mechdecouple.faithfulness.faithfulness import SCORES, Faithfulness
from mechdecouple.faithfulness.maskable import Maskable
from mechdecouple.faithfulness.masks import RATIOS, at_most, check_ratios, ordered, top
from mechdecouple.faithfulness.racu import racu
from mechdecouple.faithfulness.recovery import rationale_auroc
from mechdecouple.faithfulness.unlike import Unlike, unlike
from mechdecouple.models import HookedModel
from mechdecouple.progress import bar
from mechdecouple.tasks import Task

LIMIT = 256
"""Items that are explained by default."""
DRAWS = 5
"""Orders that are drawn at random, to compare with."""
INCOMPLETE = 0.1
"""Integrated gradients that miss so much of the change they should add up to are named as a limit."""


def measure(
    model: HookedModel,
    task: Task,
    *,
    methods: Sequence[str] | None = None,
    mask: str | int = "auto",
    among: Sequence[np.ndarray] | None = None,
    used: Sequence[np.ndarray] | None = None,
    ratios: Sequence[float] = RATIOS,
    recursive: bool = False,
    trained_ratio: float = 0.0,
    limit: int = LIMIT,
    draws: int = DRAWS,
    chat: bool = False,
    batch_tokens: int = 8192,
    blocks: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> Faithfulness:
    """Explain a model's answers by every attribution, and check the explanations by masking what they name.

    Args:
        methods: names in `METHODS`; default: all that the model has.
        mask, among: what stands in for masked features, and which may be masked; see `Maskable`.
        used: per item a bool each token or number: those that the model is known to use, where that is planted.
        ratios: shares of the features that are masked along the curves.
        recursive: explain anew after each step of a curve.
        trained_ratio: the largest share that was masked in training, for the test whether masked items are known.
        limit: most items; whole groups of them are drawn. draws: orders at random.
        blocks: of the jackknife over groups.

    Raises:
        InputError: answers are not among options or classes, an unknown attribution, ratios that do not rise from 0 to
            1, fewer than two groups.
    """
    check_ratios(tuple(ratios))
    rows = drawn(task.groups, limit, seed)
    part = task.select(rows)
    if len(np.unique(part.groups)) < 2:
        raise InputError(f"task {task.name!r} has one group of items; intervals need two: add items, or raise limit")
    own = None if among is None else [among[row] for row in rows]
    subject = Maskable(model, part, mask=mask, among=own, chat=chat, batch_tokens=batch_tokens, seed=seed)
    names = usable(subject) if methods is None else tuple(methods)
    if unknown := [name for name in names if name not in METHODS]:
        raise InputError(f"attribution {unknown[0]!r} is unknown; choose one of {', '.join(METHODS)}")

    rng = np.random.default_rng(seed)
    chance = [rng.random(subject.maskable.shape) for _ in range(draws)]
    attributions: dict[str, np.ndarray] = {}
    curves: dict[str, Curve] = {}
    with bar(total=len(names) + draws + 1, progress=progress, unit="explanation", desc=model.name) as steps:
        random = []
        for values in chance:
            random.append(masking_curve(subject, values, ratios=ratios))
            steps.update()
        for name in names:
            attributions[name] = attribute(subject, name)
            explanation = name if recursive else attributions[name]
            curves[name] = masking_curve(subject, explanation, ratios=ratios, recursive=recursive, seed=seed)
            steps.update()
        ranks = ordered(chance[0], subject.maskable)
        masks = [top(ranks, at_most(ratio, subject.maskable)) & subject.maskable for ratio in ratios]
        known = unlike(subject, masks, trained_ratio=trained_ratio, blocks=blocks, seed=seed)
        steps.update()

    plan, n_groups = stats.jackknife_blocks(part.groups, blocks, seed), len(np.unique(part.groups))
    without, alone = _rationales(subject, list(attributions.values()), chance, seed)
    whole = scores(subject, subject.nothing)[0]
    lost = [drop(whole, changed) for changed in (without, alone)]
    comprehensiveness, sufficiency = (
        stats.jackknife(lambda kept, own=own: own[:, :, kept].mean(axis=2), plan, n_groups) for own in lost
    )
    mean_random = Curve.mean(random)
    found = np.array([[getattr(c, score) for c in curves.values()] for score in SCORES])
    level = np.array([getattr(mean_random, score) for score in SCORES])[:, None]
    at = np.array(ratios, float)
    area = stats.jackknife(lambda k: racu(at, found[..., k].mean(-1), level[..., k].mean(-1)), plan, n_groups)
    recovered = None
    if used is not None:
        truth = _padded([used[row] for row in rows], subject.maskable)
        right = np.stack([rationale_auroc(v, truth, subject.maskable) for v in attributions.values()], axis=1)
        recovered = stats.jackknife(lambda kept: _mean(right[kept]), plan, n_groups)
    return Faithfulness(
        name=model.name, ids=part.ids, groups=part.groups, maskable=subject.maskable, masked=subject.stand_ins.words,
        attributions=attributions,
        curves=curves, random=mean_random, comprehensiveness=comprehensiveness, sufficiency=sufficiency, racu=area,
        unlike=known, recovered=recovered, limits=_limits(subject, attributions, known, ratios), passes=subject.passes,
    )  # fmt: skip


def drawn(groups: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Rows of whole groups in random order until there are ``limit``, in the order of the task; all of the last group.

    Raises:
        InputError: a limit below 2.
    """
    if limit < 2:
        raise InputError(f"limit is {limit}: expected at least 2 items")
    if len(groups) <= limit:
        return np.arange(len(groups))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), limit)) + 1]
    return np.flatnonzero(np.isin(group, taken))


def passes(lengths: Sequence[int], *, methods: Sequence[str] = tuple(METHODS), draws: int = DRAWS) -> int:
    """Most forward passes of single items that `measure` takes for items of so many features.

    A backward pass is not counted beside its forward pass; masks that coincide are read once, so that short items take
    fewer.
    """
    n, tried = len(lengths), sum(lengths)
    gradients = sum({"integrated_gradients": STEPS}.get(name, 1) + 2 for name in methods if name in GRADIENTS)
    others = tried * ("leave_one_out" in methods) + n * ("attention" in methods) + 2 * n
    masked = (len(methods) + draws) * (len(RATIOS) + 2 * len(BINS))
    return n * (gradients + masked + len(RATIOS) + 1) + others


def _rationales(
    subject: Maskable, explanations: Sequence[np.ndarray], chance: Sequence[np.ndarray], seed: int
) -> tuple[Float[np.ndarray, "m b n"], Float[np.ndarray, "m b n"]]:
    """Probabilities without rationales and with them alone; the last row is the mean over those drawn at random."""
    named = [rationales(subject, values, BINS, seed) for values in explanations]
    random = np.mean([rationales(subject, values, BINS) for values in chance], axis=0)
    found = np.array([*named, random])
    return found[:, 0], found[:, 1]


def _limits(
    subject: Maskable, attributions: dict[str, np.ndarray], known: Unlike, ratios: Sequence[float]
) -> tuple[str, ...]:
    what = "Tokens" if subject.encoded is not None else "Numbers"
    said = [f"{what} that are masked are {subject.stand_ins.words}."]
    if known.rate is None:
        said.append(f"Whether the model knows masked items is open: {known.reason}.")
    else:
        half = int(np.abs(np.array(ratios) - 0.5).argmin())
        low, _ = known.rate[half].interval()
        if low > 0.05:
            said.append(
                f"Out of distribution: {known.rate[half].value:.0%} of items with {ratios[half]:.0%} of their features "
                "masked look unlike whole ones inside the model (5% would by chance); what masking takes mixes what "
                "the features say with damage."
            )
    if "integrated_gradients" in attributions:
        items = np.arange(len(subject))
        change = subject.of_chosen(items, subject.nothing) - subject.of_chosen(items, subject.maskable)
        missed = np.abs(np.nansum(attributions["integrated_gradients"], axis=1) - change).mean()
        if subject.stand_ins.kind != "remove" and missed > INCOMPLETE * np.abs(change).mean() > 0:
            said.append(
                f"Integrated gradients with {STEPS} steps miss {missed / np.abs(change).mean():.0%} of the change that "
                "they should add up to."
            )
    wrong = float((subject.chosen != subject.right).mean())
    if wrong > 0:
        said.append(f"{wrong:.0%} of the explained answers are wrong ones.")
    return tuple(said)


def _padded(rows: Sequence[np.ndarray], maskable: Bool[np.ndarray, "n t"]) -> Bool[np.ndarray, "n t"]:
    out = np.zeros_like(maskable)
    for item, row in enumerate(rows):
        flat = np.asarray(row, bool).reshape(-1)[: maskable.shape[1]]
        out[item, : len(flat)] = flat
    return out


def _mean(values: Float[np.ndarray, "k m"]) -> Float[np.ndarray, " m"]:
    """Mean over the items where each is defined; NaN where none is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=0) / np.where(defined.any(axis=0), defined.sum(axis=0), np.nan)
