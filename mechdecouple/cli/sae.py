"""`mechdecouple sae`: train, evaluate, match and crosscode dictionaries from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechdecouple.cli.answer import Answer
from mechdecouple.cli.commands import bars, nothing_left
from mechdecouple.cli.values import add_voice, seed
from mechdecouple.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mechdecouple.activations import Activations
    from mechdecouple.models import HookedModel
    from mechdecouple.results import Measurement
    from mechdecouple.tasks import Task

_FIT = "good enough to speak of features"
_SHOWN = ["metric", "model", "model_b", "concept", "context", "value", "low", "high", "reason"]


def add(commands: Any) -> None:
    """Add the command and its four actions to the others."""
    root = commands.add_parser("sae", help="sparse autoencoders: train, evaluate, match, crosscode")
    actions = root.add_subparsers(dest="action", required=True, metavar="ACTION")

    one = _action(actions, "train", train, "train dictionaries on a model's activations")
    one.add_argument("model", help="a model, or a directory that `mechdecouple extract` wrote")
    one.add_argument("--hook-points", nargs="+", help="where; every layer's residual stream when absent")
    one.add_argument(
        "--architecture",
        nargs="+",
        default=["topk"],
        help="topk (default), batchtopk, matryoshka, jumprelu, standard, gated",
    )
    one.add_argument(
        "--width", nargs="+", type=int, default=[None], help="latents; four times the model's width when absent"
    )
    one.add_argument("--seeds", nargs="+", type=seed, default=[0], help="one dictionary a seed (default: 0)")
    _training(one)

    one = _action(actions, "evaluate", evaluate, "judge a dictionary in its model")
    one.add_argument("model")
    one.add_argument("--sae", type=Path, required=True, help="a directory that SAELens or `sae train` wrote")

    one = _action(actions, "match", match, "match two models' dictionaries, beside their seeds")
    one.add_argument("a", metavar="A")
    one.add_argument("b", metavar="B")
    one.add_argument("--sae-a", type=Path, nargs="+", required=True, help="A's dictionaries, one a seed, two or more")
    one.add_argument("--sae-b", type=Path, nargs="+", required=True, help="B's, of the same seeds")

    one = _action(actions, "crosscode", crosscode, "train one dictionary for two models")
    one.add_argument("a", metavar="A")
    one.add_argument("b", metavar="B")
    one.add_argument("--hook-point", required=True)
    one.add_argument("--hook-point-b", help="where B names it otherwise")
    one.add_argument("--kind", default="batchtopk", choices=("batchtopk", "l1", "dedicated"))
    one.add_argument("--width", type=int, help="latents; four times the wider model's width when absent")
    _training(one)


def _action(actions: Any, name: str, run: Any, words: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=words, allow_abbrev=False)
    parser.add_argument("--task", help="table of items or zoo:NAME")
    parser.add_argument("--position", default="all", help="all (default), last, mean, or a position_* column")
    parser.add_argument("--out", type=Path, required=True, help="directory of the results; an interrupted job goes on")
    parser.add_argument("--seed", type=seed, default=0, help="seed of every random choice (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    add_voice(parser)
    parser.set_defaults(run=lambda options: _clean(run, options))
    return parser


def _clean(run: Any, options: argparse.Namespace) -> Answer:
    """Run it; bad input leaves nothing behind that was not there."""
    with nothing_left(options.out, InputError):
        return run(options)


def _training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--k", type=int, help="active latents a row; by the model's width, 4 to 32, when absent")
    parser.add_argument("--steps", type=int, help="optimiser steps; 1,000, or one pass over the rows, when absent")


def train(options: argparse.Namespace) -> Answer:
    from mechdecouple import sae

    acts, groups = _rows(options)
    suite = sae.Suite(
        options.hook_points, tuple(options.architecture), tuple(options.width), options.k, tuple(options.seeds),
        options.steps, options.seed,
    )  # fmt: skip
    tables = []
    made = sae.train_suite(acts, groups, suite, device=options.device, out=options.out, progress=bars(options))
    for one in made:
        tables.append(sae.suite_frame(one, _name(acts), acts.position))
        found = one.evaluation
        words = f"explained variance {found.explained_variance}, L0 {found.l0.value:.1f}"
        said = sae.judge(found).shortcomings or _FIT
        print(f"{options.out / one.name}: {one.sae!r} at {one.recipe.hook_point}: {words}; {said}")
    return _written(tables, options.out / "evaluation.parquet")


def evaluate(options: argparse.Namespace) -> Answer:
    from mechdecouple import sae

    one = sae.SparseAutoencoder.load(options.sae, device=options.device)
    model, task = _loaded(options.model, options)
    point = sae.reading(one, None, model.hook_points)
    acts = _extracted(model, task, [point], options, "activations")
    found = sae.evaluate(one, acts, point, groups=task.groups[acts.items], seed=options.seed)
    rows = found.measurements(model.name, hook_point=point, position=options.position)
    inside = None
    if options.position != "mean":
        inside = sae.spliced(
            one, model, task, point, position=options.position, seed=options.seed, progress=bars(options)
        )
        rows += inside.measurements()
    quality = sae.judge(found, inside)
    table = _frame(rows)
    _print(table)
    print(f"\n{'not ' + _FIT + ': ' + quality.shortcomings if quality.shortcomings else _FIT}")
    if quality.cautions:
        print(f"with care: {quality.cautions}")
    return _written([table], options.out / "evaluation.parquet")


def match(options: argparse.Namespace) -> Answer:
    from mechdecouple import sae

    if len(options.sae_a) != len(options.sae_b) or len(options.sae_a) < 2:
        raise InputError(
            f"sae match: {len(options.sae_a)} and {len(options.sae_b)} dictionaries given; expected the same two or "
            "more seeds of each model, for a share of matches means little without the seed baseline"
        )
    latents, points, acts, names, decoders = [], [], [], [], []
    for side, ref, folders in (("a", options.a, options.sae_a), ("b", options.b, options.sae_b)):
        model, task = _loaded(ref, options)
        loaded = [sae.SparseAutoencoder.load(folder, device=options.device) for folder in folders]
        point = sae.reading(loaded[0], None, model.hook_points)
        acts.append(_extracted(model, task, [point], options, f"activations-{side}"))
        latents.append([one.encode_sparse(acts[-1], point) for one in loaded])
        decoders.append([one.decoder for one in loaded])
        points.append(point)
        names.append(model.name)
    acts[0].check_aligned(acts[1])
    groups = task.groups[acts[0].items]
    sharing = sae.matched_share_excess(*latents, groups=groups, decoders=tuple(decoders), seed=options.seed)
    place = {"hook_point": points[0], "hook_point_b": points[1], "position": options.position}
    table = _frame(sharing.measurements(*names, **place) + sharing.kind_measurements(*names, **place))
    _print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    sharing.latents().to_parquet(options.out / "latents.parquet", index=False)
    return _written([table], options.out / "sharing.parquet")


def crosscode(options: argparse.Namespace) -> Answer:
    from mechdecouple import sae

    points = [options.hook_point, options.hook_point_b or options.hook_point]
    acts, names = [], []
    for side, ref, point in zip("ab", (options.a, options.b), points, strict=True):
        model, task = _loaded(ref, options)
        acts.append(_extracted(model, task, [point], options, f"activations-{side}"))
        names.append(model.name)
    groups = task.groups[acts[0].items]
    acts[0].check_aligned(acts[1])
    held = sae.holdout(groups, seed=options.seed)
    found = sae.train_crosscoder(
        *(one.select(~held) for one in acts), kind=options.kind, width=options.width, k=options.k, steps=options.steps,
        seed=options.seed, device=options.device, model_a=names[0], model_b=names[1], progress=bars(options),
    )  # fmt: skip
    kinds = sae.exclusivity(found, *(one.select(held) for one in acts), groups=groups[held], seed=options.seed)
    found.save(options.out / "crosscoder")
    table = _frame(kinds.measurements(*names, hook_point=points[0], hook_point_b=points[1], position=options.position))
    _print(table)
    print("\n" + ", ".join(f"{n} {kind}" for kind, n in kinds.table.kind.value_counts().items()))
    kinds.table.to_parquet(options.out / "latents.parquet", index=False)
    return _written([table], options.out / "crosscoder.parquet")


def _rows(options: argparse.Namespace) -> tuple[Activations, np.ndarray]:
    """The rows to train on, and their groups: those of the task, or the items where activations are given alone."""
    import numpy as np

    from mechdecouple.activations import Activations

    if (Path(options.model) / "manifest.json").is_file():
        acts = Activations.open(options.model)
        if options.task is None:
            return acts, acts.ids
        task = _task(options)
        missing = sorted(set(acts.ids.tolist()) - set(task.ids.tolist()))
        if missing:
            raise InputError(
                f"--task {options.task!r} lacks item {missing[0]!r} of {options.model!r}; give the task that was "
                "extracted"
            )
        group = dict(zip(task.ids.tolist(), task.groups.tolist(), strict=True))
        return acts, np.array([group[name] for name in acts.ids.tolist()])
    model, task = _loaded(options.model, options)
    acts = _extracted(model, task, options.hook_points, options, "activations")
    return acts, task.groups[acts.items]


def _loaded(ref: str, options: argparse.Namespace) -> tuple[HookedModel, Task]:
    from mechdecouple.refs import load

    task = _task(options)
    return load(ref, device=options.device), task


def _task(options: argparse.Namespace) -> Task:
    from mechdecouple.refs import load_task

    if options.task is None:
        raise InputError(f"sae {options.action}: no task given; add --task TABLE")
    return load_task(options.task)


def _extracted(
    model: HookedModel, task: Task, points: Sequence[str] | None, options: argparse.Namespace, name: str
) -> Activations:
    from mechdecouple.extract import extract

    return extract(model, task, points, options.position, out=options.out / name, progress=bars(options))


def _name(acts: Activations) -> str:
    return str(acts.manifest.get("model", {}).get("name", ""))


def _frame(rows: Sequence[Measurement]) -> pd.DataFrame:
    from mechdecouple.results import frame

    return frame(rows)


def _print(table: pd.DataFrame) -> None:
    shown = table.assign(reason=table["reason"].str.slice(0, 60))
    shown = shown[[column for column in _SHOWN if shown[column].ne("").to_numpy().any()]]
    print(shown.to_string(index=False, float_format="%.3f", na_rep="–"))


def _written(tables: Sequence[pd.DataFrame], path: Path) -> Answer:
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.concat(tables, ignore_index=True)
    table.to_parquet(path, index=False)
    return Answer(f"\nresults: {path.parent}", out=path.parent, result={"measurements": table.to_dict("records")})
