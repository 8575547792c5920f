"""compare_many: runs in declared arms (recipe × seed) in, one comparison with the run as the unit out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mechdecouple.compare import robustness
from mechdecouple.compare.calibration import compare_calibration
from mechdecouple.compare.config import CompareConfig, make_config
from mechdecouple.compare.families import NOISE_SITES
from mechdecouple.compare.gate import PERFORMANCE
from mechdecouple.compare.inside import PRIMARY, readable, summary
from mechdecouple.compare.many.comparison import ManyComparison
from mechdecouple.compare.many.distance import MODEL_DISTANCE, model_distances
from mechdecouple.compare.many.gate import all_equal
from mechdecouple.compare.many.runs import Look, Run, check_first, check_rows, read_run
from mechdecouple.compare.provenance import provenance
from mechdecouple.compare.run import task_options, threads
from mechdecouple.errors import InputError
from mechdecouple.progress import bar
from mechdecouple.refs import load_task
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure import NOISE_TOLERANCE
from mechdecouple.tasks import Task

PAIRWISE = ("seeds_a", "seeds_b", "hook_points_b", "sae_hook_point", "sae_width", "sae_k")
"""Options of a comparison of two models that mean nothing here."""
MEASURED = ("structure", "similarity", "robustness")


def compare_many(
    arms: Mapping[str, Sequence[Any]],
    task: Any,
    *,
    progress: bool = True,
    config: CompareConfig | Mapping[str, Any] | None = None,
    **options: Any,
) -> ManyComparison:
    """Compare runs of several recipes: are all equally accurate, and do recipes differ inside by more than seeds do?

    The unit is the run. Every run is loaded twice, once to check it and once to read it, and let go again.

    Args:
        arms: name of each arm (a recipe, say) -> its runs (its seeds): models, see :func:`mechdecouple.load`.
        task: the items, see :func:`mechdecouple.load_task`; all runs see the same ones.
        progress: show what is being done.
        config, options: see :class:`mechdecouple.CompareConfig`; ``options`` win. Of the families, structure,
            similarity and robustness are measured.

    Raises:
        MechDecoupleError: an input cannot be used; one line says which and how to mend it.

    Example:
        >>> arms = {"tidy": ["runs/tidy-0", "runs/tidy-1"], "plain": ["runs/plain-0", "runs/plain-1"]}
        >>> many = compare_many(arms, "items.csv")  # doctest: +SKIP
        >>> print(many.summary())  # doctest: +SKIP
    """
    given = config.model_dump() if isinstance(config, CompareConfig) else dict(config or {})
    settings = make_config({**given, **options})
    _check_arms(arms)
    _check_options(settings)
    items = load_task(task, **task_options(settings))
    n_runs = sum(len(runs) for runs in arms.values())
    with bar(total=n_runs + 2, progress=progress, unit="stage") as stages:

        def stage(name: str) -> None:
            stages.set_description(name)
            stages.update()

        stage("checking every run")
        look = check_first(arms, items, settings)
        noisy = _noisy(len(look.slots[0].points)) if "robustness" in settings.families else []
        runs: list[Run] = []
        made: dict[str, Any] = {}
        for slot in look.slots:
            stage(f"reading {slot.label}")
            model = slot.load(settings)
            with threads(model):
                runs.append(read_run(slot, model, items, settings, noisy, look.loss_unit, progress))
            made = made or provenance(model, model, items, settings)
            del model
        stage("comparing")
        return _compared(arms, look, runs, items, settings, made)


def _compared(
    arms: Mapping[str, Sequence[Any]],
    look: Look,
    runs: list[Run],
    task: Task,
    config: CompareConfig,
    made: dict[str, Any],
) -> ManyComparison:
    check_rows(runs)
    gate = all_equal({run.label: run.answers for run in runs}, task, margin=config.margin, alpha=config.alpha)
    notes = [*look.notes, *task.notes]
    found: list[tuple[Metric, list[Estimate]]] = [(PERFORMANCE, [row.estimate for row in gate.runs])]
    if "structure" in config.families:
        found += [(metric, _structure(metric, runs)) for metric in PRIMARY]
    if "robustness" in config.families:
        found += _robustness(runs, task, config)
    calibrated = [_calibration(run, task, config) for run in runs]
    found.append((calibrated[0][0], [estimate for _, estimate in calibrated]))
    rows = [
        Measurement(
            metric=metric.name, family=metric.family, estimate=e, model=run.label, position=config.position
        )
        for metric, estimates in found
        for run, e in zip(runs, estimates, strict=True)
    ]  # fmt: skip
    distances, left_out = _distances(runs, config) if "similarity" in config.families else ([], [])
    notes += left_out
    labels = iter(slot.label for slot in look.slots)
    return ManyComparison(
        task=task.name,
        arms={arm: tuple(next(labels) for _ in own) for arm, own in arms.items()},
        gate=gate,
        metrics=tuple(metric for metric, _ in found),
        runs=tuple(rows),
        distances=tuple(distances),
        alpha=config.alpha,
        notes=tuple(dict.fromkeys(notes)),
        provenance={**made, "models": look.models},
    )


def _structure(metric: Metric, runs: Sequence[Run]) -> list[Estimate]:
    """A structure metric of every run, averaged over the same cells in all: sites that the answers of every run depend
    on, and for concept metrics the concepts that can be read in every run."""
    live, reason = _live(runs)
    if reason:
        return [Estimate.undefined(reason, direction=metric.direction)] * len(runs)
    concepts = ["", *runs[0].labels.concepts]
    cells, why = [], ""
    for site in live:
        for concept in concepts:
            lacking = next((why for run in runs if (why := _lacking(metric, run, site, concept)) is not None), None)
            if lacking is None:
                cells.append((site, concept))
            why = why or lacking or ""
    if not cells:
        return [Estimate.undefined(why or "it was not measured", direction=metric.direction)] * len(runs)
    return [_summary(metric, run, cells).estimate(metric) for run in runs]


def _summary(metric: Metric, run: Run, cells: Sequence[tuple[int, str]]) -> Replicates:
    assert run.inside is not None
    return summary(run.inside, metric, [(run.points[site], concept) for site, concept in cells])


def _lacking(metric: Metric, run: Run, site: int, concept: str) -> str | None:
    """Why a metric cannot be averaged in here, the empty string where it is none of this concept; None where it can."""
    assert run.inside is not None
    point = run.points[site]
    if run.inside.get(metric, point, concept) is None:
        return run.inside.reason(metric, point, concept)
    if concept and not readable(run.inside, point, concept):
        return f"no concept can be read within contexts in all runs at one depth (not in {run.label})"
    return None


def _robustness(runs: Sequence[Run], task: Task, config: CompareConfig) -> list[tuple[Metric, list[Estimate]]]:
    found: list[tuple[Metric, list[Estimate]]] = [(NOISE_TOLERANCE, _tolerance(runs))]
    if task.shift_mask.any():
        shifted = [robustness.shift(run.answers, run.answers, task, config.blocks, config.seed) for run in runs]
        found.append((shifted[0][0].metric, [estimates[0] for _, estimates in shifted]))
    return found


def _tolerance(runs: Sequence[Run]) -> list[Estimate]:
    """ε90 of every run, averaged over the same sites in all."""
    reason = next((run.no_tolerance for run in runs if run.no_tolerance), "")
    measured = [[run.tolerance.get(p) for p in run.points] for run in runs]
    sites = [i for i in range(len(runs[0].points)) if all(own[i] is not None for own in measured)]
    if reason or not sites:
        why = reason or "at no hook point does noise bring every run to 90 % of its performance"
        return [Estimate.undefined(why, direction=NOISE_TOLERANCE.direction)] * len(runs)
    return [
        Replicates.mean([r for i in sites if (r := own[i]) is not None]).estimate(NOISE_TOLERANCE) for own in measured
    ]


def _calibration(run: Run, task: Task, config: CompareConfig) -> tuple[Metric, Estimate]:
    contrast, rows = compare_calibration(
        run.answers, run.answers, task, (run.label, run.label), config.blocks, config.seed
    )
    return contrast.metric, next(row.estimate for row in rows if row.metric == contrast.metric.name)


def _distances(runs: Sequence[Run], config: CompareConfig) -> tuple[list[Measurement], list[str]]:
    """Distances of every two runs over the sites that the answers of all depend on, and what was left out."""
    live, reason = _live(runs)
    if reason:
        return [], [f"Distances inside are not measured: {reason}."]
    sites = [[run.acts[i] for run in runs] for i in live]
    found, used = model_distances(sites, runs[0].groups, n_blocks=config.blocks, seed=config.seed)
    constant = [runs[0].points[i] for i, ok in zip(live, used, strict=True) if not ok]
    notes = [f"Distances inside leave out {', '.join(constant)}: activations are constant there."] if constant else []
    if found is None:
        return [], notes
    place = {"metric": MODEL_DISTANCE.name, "family": MODEL_DISTANCE.family, "position": config.position}
    rows = [
        Measurement(**place, model=runs[i].label, model_b=runs[j].label, estimate=found[i, j].estimate(MODEL_DISTANCE))
        for i in range(len(runs))
        for j in range(i + 1, len(runs))
    ]
    return rows, notes


def _live(runs: Sequence[Run]) -> tuple[list[int], str]:
    """Sites that the answers of every run depend on, and why there is none."""
    live = [i for i in range(len(runs[0].points)) if all(run.active[i] for run in runs)]
    return live, "" if live else "no hook point looked at has an effect on the answers of every run"


def _noisy(n_sites: int) -> list[int]:
    """Sites to which noise is added, spread over the inner ones: which of them matter is not known beforehand."""
    inner = np.linspace(0, n_sites - 1, NOISE_SITES + 2)[1:-1]
    return np.unique(inner.round().astype(int)).tolist()


def _check_arms(arms: Mapping[str, Sequence[Any]]) -> None:
    if not isinstance(arms, Mapping) or len(arms) < 2:
        raise InputError("arms must map two names or more to lists of models: {'recipe a': [...], 'recipe b': [...]}")
    for arm, runs in arms.items():
        if isinstance(runs, str) or not isinstance(runs, Sequence) or not runs:
            raise InputError(f"arm {arm!r} holds {runs!r}: give a list with at least one model")


def _check_options(config: CompareConfig) -> None:
    plain = CompareConfig()
    given = next((name for name in PAIRWISE if getattr(config, name) != getattr(plain, name)), None)
    if given is not None:
        raise InputError(f"option {given} is for two models; many runs are told apart by their arms: leave it out")
    if not set(config.families) & set(MEASURED):
        raise InputError(f"families {', '.join(config.families)}: of many runs {', '.join(MEASURED)} are measured")
