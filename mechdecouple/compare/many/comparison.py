"""ManyComparison: runs in declared arms, compared with the run as the unit."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple import stats
from mechdecouple.compare.comparison import read_measurement, without_nan
from mechdecouple.compare.gate import PERFORMANCE
from mechdecouple.compare.many.distance import MODEL_DISTANCE, ModelMap, between_share_of_distances
from mechdecouple.compare.many.gate import ManyGate
from mechdecouple.compare.many.relabel import relabellings
from mechdecouple.compare.many.spread import ARM_SHARE, ArmContrast, contrast_arms, rank_among_seeds
from mechdecouple.compare.many.words import UNIT, contrast_sentence, distance_sentence, flagged, shortfall
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric, frame

FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class ManyComparison:
    """Runs in declared arms on one task: are all equally accurate, and do the arms differ inside by more than seeds do?

    Attributes:
        task: its name; arms: arm -> labels of its runs.
        gate: the equal-accuracy gate over all pairs of runs.
        metrics: the metrics compared; runs: one number a run and metric, with its interval over items.
        distances: distance inside of every two runs, with its interval over items; empty where there is none.
        alpha: level of the tests; notes: what could not be compared, and why; provenance: what made it.
    """

    task: str
    arms: Mapping[str, tuple[str, ...]]
    gate: ManyGate
    metrics: tuple[Metric, ...]
    runs: tuple[Measurement, ...]
    distances: tuple[Measurement, ...]
    alpha: float
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """Every run, arm by arm."""
        return tuple(run for runs in self.arms.values() for run in runs)

    @property
    def arm_of(self) -> dict[str, str]:
        return {run: arm for arm, runs in self.arms.items() for run in runs}

    def values(self, metric: str) -> dict[str, np.ndarray]:
        """A metric of every run: arm -> [runs]."""
        at = {row.model: row.estimate.value for row in self.runs if row.metric == metric}
        return {arm: np.array([at[run] for run in runs]) for arm, runs in self.arms.items()}

    @cached_property
    def contrasts(self) -> tuple[ArmContrast, ...]:
        """Every metric compared between arms; Holm's correction runs over them and the distances, the gate apart."""
        found = []
        for metric in self.metrics:
            reasons = (row.estimate.reason for row in self.runs if row.metric == metric.name)
            undefined = next((r for r in reasons if r), "")
            found.append(
                contrast_arms(
                    metric, self.values(metric.name), reason=undefined, seed=int(self.provenance.get("seed", 0))
                )
            )
        p = {c.metric.name: c.p for c in found if c.metric.name != PERFORMANCE.name}
        p[MODEL_DISTANCE.name] = self.distance_share.p
        adjusted = dict(zip(p, stats.holm(np.array(list(p.values()), dtype=float)), strict=True))
        return tuple(dataclasses.replace(c, p_adjusted=float(adjusted.get(c.metric.name, math.nan))) for c in found)

    def contrast(self, metric: str) -> ArmContrast:
        """The contrast of one metric.

        Raises:
            InputError: a metric that was not compared.
        """
        found = next((c for c in self.contrasts if c.metric.name == metric), None)
        if found is None:
            raise InputError(f"metric {metric!r} was not compared; there are {', '.join(m.name for m in self.metrics)}")
        return found

    @cached_property
    def distance(self) -> np.ndarray | None:
        """Distance inside of every two runs [m, m], in the order of ``labels``; None where there is none."""
        if not self.distances:
            return None
        at = {run: i for i, run in enumerate(self.labels)}
        found = np.zeros((len(at), len(at)))
        for row in self.distances:
            i, j = at[row.model], at[row.model_b]
            found[i, j] = found[j, i] = row.estimate.value
        return found

    @cached_property
    def map(self) -> ModelMap | None:
        """The runs as a tree and as points in a plane; None where there are no distances."""
        return None if self.distance is None else ModelMap(self.distance)

    @cached_property
    def distance_share(self) -> Estimate:
        """Share of the sum of squared distances that lies between arms, with its null and p."""
        deals = relabellings([len(runs) for runs in self.arms.values()], seed=int(self.provenance.get("seed", 0)))
        n = len(self.labels)
        if self.distance is None:
            return Estimate.undefined("no distances: see the notes", n=n, unit="models")
        shares = between_share_of_distances(self.distance, deals)
        why = f"no interval; the smallest p that these arms can give is {deals.smallest_p:.2g}"
        null = (len(self.arms) - 1) / (n - 1)
        return Estimate(
            value=float(shares[0]), null=null, p=deals.p(shares), n=n, unit="models", method=f"p from {deals.words}",
            reason=why,
        )  # fmt: skip

    def pair(self, a: str, b: str) -> pd.DataFrame:
        """Two runs against the spread of seeds: is their difference larger than those of runs of one arm?

        Returns:
            a row a metric, and one of the distance inside: ``difference`` (absolute, on the metric's scale),
            ``largest`` between two runs of one arm, ``rank`` among the ``n_pairs`` of those, add-one ``p`` and
            ``larger`` (no two runs of one arm differ as much). See :class:`SeedRank`.

        Raises:
            InputError: no such run.
        """
        order, arm_of = list(self.labels), self.arm_of
        for run in (a, b):
            if run not in order:
                raise InputError(f"run {run!r} is unknown; there are {', '.join(order)}")
        i, j = order.index(a), order.index(b)
        arm = np.array([list(self.arms).index(arm_of[run]) for run in order])
        gaps = {}
        for c in self.contrasts:
            if c.defined:
                x = np.concatenate(list(c.scaled.values()))
                gaps[c.metric.name] = np.abs(np.subtract.outer(x, x))
        if self.distance is not None:
            gaps[MODEL_DISTANCE.name] = self.distance
        rows = []
        for metric, gap in gaps.items():
            found = rank_among_seeds(gap, arm, i, j)
            rows.append({"metric": metric, "a": a, "b": b, **dataclasses.asdict(found), "larger": found.larger})
        return pd.DataFrame(rows)

    def frame(self) -> pd.DataFrame:
        """One row a measurement: columns ``mechdecouple.results.COLUMNS`` and ``arm`` (of the run, or the arm itself).

        Rows with a run as ``model`` have intervals over items; rows with arms (``unit`` is ``models``) over runs: means
        of arms, differences of two, and ``arm_share``, with the metric under ``concept``.
        """
        rows = [*self.runs, *self.gate.pairs, *self.distances]
        for c in self.contrasts:
            place = {"metric": c.metric.name, "family": c.metric.family}
            rows += [Measurement(**place, model=arm, estimate=c.arm_mean(arm)) for arm in self.arms]
            pairs = combinations(self.arms, 2)
            rows += [Measurement(**place, model=a, model_b=b, estimate=c.difference(a, b)) for a, b in pairs]
        shares = [(c.metric.name, c.share_estimate()) for c in self.contrasts]
        shares.append((MODEL_DISTANCE.name, self.distance_share))
        arms = ", ".join(self.arms)
        rows += [
            Measurement(metric=ARM_SHARE.name, family=ARM_SHARE.family, model=arms, concept=name, estimate=share)
            for name, share in shares
        ]
        table = frame(rows)
        arm_of = {**self.arm_of, **{arm: arm for arm in self.arms}}
        alone = table.model_b == ""
        return table.assign(arm=[arm_of.get(m, "") for m in table.model.where(alone, "")])

    @cached_property
    def flags(self) -> dict[str, bool | None]:
        """Metric -> whether the arms differ in it; None where these arms could not show it or it is undefined."""
        tested = [c for c in self.contrasts if c.metric.name != PERFORMANCE.name]
        return {c.metric.name: flagged(c, self.alpha, self._n_tests) for c in tested}

    @property
    def _n_tests(self) -> int:
        made = [c.p for c in self.contrasts if c.metric.name != PERFORMANCE.name] + [self.distance_share.p]
        return int(np.isfinite(made).sum())

    def summary(self) -> str:
        """The findings as plain text. Marks as in :meth:`Comparison.summary`."""
        arms = ", ".join(f"{arm} ({len(runs)})" for arm, runs in self.arms.items())
        head = f"{len(self.labels)} runs in {len(self.arms)} arms on {self.task}: {arms}"
        marks = {True: "!", False: "-", None: "?"}
        gate = {"equal": "=", "different": "!"}.get(self.gate.outcome, "?")
        lines = [head, "-" * len(head), f"[{gate}] {self.gate.sentence}"]
        lines += [f"[{marks[self.flags[name]]}] {said}" for name, said in self.sentences.items()]
        lines.append(f"[ ] {self.distance_sentence}")
        return "\n".join([*lines, *(f"(note) {note}" for note in self.remarks), UNIT])

    @property
    def remarks(self) -> list[str]:
        """What bounds the statements: too few runs to decide anything, and the notes."""
        short = shortfall([len(runs) for runs in self.arms.values()], self.alpha, self._n_tests)
        return [short, *self.notes] if short else list(self.notes)

    @property
    def sentences(self) -> dict[str, str]:
        """Metric -> what may be said of its difference between the arms."""
        return {
            c.metric.name: contrast_sentence(c, self.flags[c.metric.name], self.alpha)
            for c in self.contrasts
            if c.metric.name in self.flags
        }

    @property
    def distance_sentence(self) -> str:
        """Whether runs of different arms lie further apart than runs of one."""
        arm = [self.arm_of[run] for run in self.labels]
        tested = [c for c in self.contrasts if c.metric.name != PERFORMANCE.name]
        p = np.array([self.distance_share.p, *(c.p for c in tested)], dtype=float)
        return distance_sentence(self.distance, arm, self.distance_share, float(stats.holm(p)[0]), self.map)

    def __repr__(self) -> str:
        return f"<ManyComparison of {len(self.labels)} runs in {len(self.arms)} arms on {self.task!r}>"

    def _repr_html_(self) -> str:
        said = [self.gate.sentence, *self.sentences.values(), self.distance_sentence, *self.remarks]
        rows = []
        for c in self.contrasts:
            cells = {arm: str(c.arm_mean(arm)) for arm in self.arms}
            rows.append({"metric": c.metric.title, **cells, "p": c.p, "p (Holm)": c.p_adjusted})
        table = pd.DataFrame(rows).to_html(index=False, float_format="%.3g", na_rep="–")
        return (
            f"<h4>{len(self.labels)} runs in {len(self.arms)} arms on {html.escape(self.task)}</h4><ul>"
            + "".join(f"<li>{html.escape(text)}</li>" for text in said)
            + f"</ul>{table}<p>{html.escape(UNIT)}</p>"
        )

    def save(self, directory: str | Path) -> Path:
        """Write ``many.json`` and ``metrics.parquet`` (see :meth:`frame`); returns the directory."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.frame().to_parquet(directory / "metrics.parquet", index=False)
        gate = dataclasses.asdict(dataclasses.replace(self.gate, runs=(), pairs=()))
        record = {
            "format": FORMAT,
            "task": self.task,
            "arms": {arm: list(runs) for arm, runs in self.arms.items()},
            "gate": gate,
            "metrics": [dataclasses.asdict(metric) for metric in self.metrics],
            "alpha": self.alpha,
            "notes": list(self.notes),
            "provenance": self.provenance,
        }
        text = json.dumps(without_nan(record), indent=2, ensure_ascii=False, allow_nan=False)
        (directory / "many.json").write_text(text + "\n", encoding="utf-8")
        return directory

    @classmethod
    def load(cls, directory: str | Path) -> ManyComparison:
        """Read back what :meth:`save` wrote.

        Raises:
            InputError: not a directory of a comparison of many runs, or one of another format.
        """
        directory = Path(directory)
        try:
            record = json.loads((directory / "many.json").read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ValueError(f"format {record['format']!r}, this version reads {FORMAT}")
            table = pd.read_parquet(directory / "metrics.parquet").drop(columns="arm")
            rows = [read_measurement(row) for row in table.to_dict("records")]
            arms = {arm: tuple(runs) for arm, runs in record["arms"].items()}
            names = {run for runs in arms.values() for run in runs}
            own = [row for row in rows if row.model in names]
            runs = tuple(row for row in own if not row.model_b)
            pairs = [row for row in own if row.model_b]
            gate = {**record["gate"], "worst": tuple(record["gate"]["worst"])}
            performance = [tuple(r for r in part if r.metric == PERFORMANCE.name) for part in (runs, pairs)]
            return cls(
                task=record["task"],
                arms=arms,
                gate=ManyGate(**{**gate, "runs": performance[0], "pairs": performance[1]}),
                metrics=tuple(_metric(m) for m in record["metrics"]),
                runs=runs,
                distances=tuple(row for row in pairs if row.metric == MODEL_DISTANCE.name),
                alpha=record["alpha"],
                notes=tuple(record["notes"]),
                provenance=record["provenance"],
            )
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(directory)!r} holds no readable comparison of many runs ({error}); give the folder that one was "
                "saved to"
            ) from None


def _metric(record: dict[str, Any]) -> Metric:
    return Metric(**{**record, "margin": math.nan if record["margin"] is None else record["margin"]})
