"""Same output, different organisation: one image, drawn by networks that hold it in different ways.

    python -m analyses run same_output [--full] [--out DIR]
    python -m analyses.same_output --published DIRECTORY [--full] [--out DIR]

Coordinate networks turn the place of a pixel into its colour. One is composed by hand: a symmetric face from parts that
each have a meaning (eye columns, mouth row, head), in a wiring as sparse as an evolved network's. Its twin has the same
units, all wired, and is trained by gradient descent on the image (squared error, gradient divided by its norm, Adam).
The study asks

- whether the twins draw one image: which colour each pixel has, on a grid that the training has not seen;
- what share of each unit's energy is even, the same at both sides of the face (`structure.invariant_share`);
- whether what tells head and features apart at one side tells them apart at the other (CCGP with the side as context);
- how even units are *before* any weight has been found: fresh weights in the same sparse wiring, and all wired.

The last is the control. Units are even because of what they are wired to, so a high share is no evidence that the
weights were found in a better way. Two more looks stand beside the criteria: the share with each unit's mean taken out
(a unit that is constant is even without drawing anything), and CCGP, which untrained weights cannot be given for free.

The published pairs (an evolved network, and one trained on its image) are read where their directory is given; nothing
in their pickles is run. Quick: six faces; ``--full``: twelve.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses._arms import Arms, comparing
from analyses._models import raw, train_all
from analyses._pool import spread
from analyses._same_output.draw import caption, draw
from analyses._same_output.networks import JUDGED_ON, Network, Traced, composed, face_task, fresh, grid, mirrored
from analyses._same_output.published import colours, published_pairs
from analyses._study import Criterion, Result, Study, arguments, column, where
from mechdecouple.models import wrap
from mechdecouple.structure import invariant_share

CLAIM = "Networks that draw one image can be organised differently: factored by design, fractured by gradient descent."
SOURCE = "arXiv 2505.11581"
NOTES = (
    "The even share is what the finding states, and fresh weights in the sparse wiring have it too. In the composed "
    "networks that is so by construction: what reads the horizontal place reads it evenly, whatever the weights, so "
    "that the control is no criterion here, but of published networks. It tells how a network is wired, not how its "
    "weights were found.",
    "Bound: the smallest published difference of the shares is .93 - .85 = .08. For published networks the control's "
    "share is to be that of the network whose wiring it has, within .05.",
    "The share is a mean over units (inputs and outputs among them, silent units left out), as in the published .90 "
    "and .63; units of the sparse network that read nothing are constant where their kind makes them so: even.",
    "Tried and left out: gradient descent in the sparse wiring from fresh weights stays at the image's coarse parts "
    "(accuracy .94 and .07 on two faces), so it is no arm of equal accuracy.",
    "Gradient descent finds the symmetry by itself on half of the first six faces: there the trained units are as even "
    "as the composed ones (.97 to .99 against .97), on the others .82 to .89. The mean difference hangs on how many "
    "do. Training starts from the fresh weights that are all wired: by the mean it makes units more even, not less.",
    "The networks have 12 hidden layers, as the published ones do (of 12 units, theirs have 22, and a plainer image). "
    "With 4, the fewest that compose a face, the difference of three faces was .03 [-.13, .20]. The bound stayed.",
    "Patches of 2 x 2 pixels with their mirror images are the groups of the gate: with 4 x 4, 72 of them, it stayed "
    "undecided at accuracies of 1 and .997; errors along an edge go further than a patch.",
    "The weights of the untrained controls in the sparse wiring are as large as those they replace, layer by layer.",
)
ARMS = ("composed", "traced", "fresh, same wiring", "fresh, all wired")
SEEDS, GAP, NEAR, STEPS = 6, 0.08, 0.05, 3000
PUBLISHED = {"skull": (0.90, 0.63), "butterfly": (0.92, 0.74), "apple": (0.93, 0.85)}
"""Even shares of evolved and of trained networks; the finding gives them in this order of images."""
LOOKED_AT = tuple(f"layers.{i}" for i in (0, 2, 5, 8, 11))
"""Hidden layers whose structure is compared (from 0)."""
_PICTURE = 128


def recipe(face: int) -> Traced:
    return Traced("same-output", "", steps=STEPS, learning_rate=3e-3, weight_decay=0.0, face=face)


def run(seeds: int = SEEDS, full: bool = False, progress: bool = True, published: Path | None = None) -> Result:
    """The whole study."""
    train_all([(recipe(face), face) for face in range(seeds)], progress)
    traced = [raw(recipe(face), face, progress) for face in range(seeds)]
    arms = compared(traced, progress)
    table = pd.DataFrame([row for face, net in enumerate(traced) for row in measured(face, net)])
    tables = {"arms": table, "sides": sides(arms.frame), "compared": arms.frame, "gates": arms.gates()}
    found = criteria(table, arms)
    if published is not None:
        tables["published"] = measure_published(published)
        found += published_criteria(tables["published"])
    figures: dict[str, Figure] = {"same_output": draw(table, tables["sides"], composed(0), traced[0])}
    return Result(
        name="same_output", claim=CLAIM, source=SOURCE, full=full, notes=NOTES, criteria=tuple(found), tables=tables,
        figures=figures, captions={"same_output": caption(table, tables["sides"], tables["gates"])},
    )  # fmt: skip


def compared(traced: list[Network], progress: bool = True) -> Arms:
    """Each face's twins, on its own image."""
    options: dict[str, Any] = {
        "families": ("structure",), "hook_points": LOOKED_AT, "permutations": 19, "probe_items": 128,
    }  # fmt: skip
    jobs = []
    for face, net in enumerate(traced):
        pair = wrap(composed(face), name=f"composed@{face}"), wrap(net, name=f"traced@{face}")
        jobs += comparing([pair], face_task(face), **options)
    return Arms(tuple(spread(jobs, progress=progress, desc="comparing", unit="pair")))


def measured(face: int, traced: Network) -> list[dict[str, Any]]:
    """Even shares of the four networks of a face, a row each."""
    one = composed(face)
    nets = (one, traced, fresh(one, face, wiring=True), fresh(one, face, wiring=False))
    return [{"arm": arm, "seed": face, **shares(net, JUDGED_ON)} for arm, net in zip(ARMS, nets, strict=True)]


def shares(network: Network, side: int) -> dict[str, float]:
    """Mean over units of the even share, of their energy and of their variance, and how many units are not silent."""
    maps, partner = network.maps(grid(side)), mirrored(side)
    raw_shares = np.concatenate([invariant_share(x.numpy(), partner) for x in maps])
    varying = np.concatenate([invariant_share(x.numpy(), partner, centred=True) for x in maps[1:-1]])
    return {
        "even": float(np.nanmean(raw_shares)), "even_variance": float(np.nanmean(varying)),
        "units": int(np.isfinite(raw_shares).sum()), "varying": int(np.isfinite(varying).sum()),
        "wired": float(np.mean(np.concatenate([(w != 0).numpy().ravel() for w in network.weights]))),
    }  # fmt: skip


def sides(frame: pd.DataFrame) -> pd.DataFrame:
    """CCGP over the sides at each layer: mean over what can be told apart, of each arm and seed."""
    rows = frame[frame["metric"].eq("ccgp") & frame["model_b"].eq("") & frame["concept"].ne("")]
    means = rows.groupby(["arm", "seed", "hook_point"], as_index=False)["value"].mean()
    return means.assign(arm=means["arm"].map({"a": ARMS[0], "b": ARMS[1]}))


def criteria(table: pd.DataFrame, arms: Arms) -> list[Criterion]:
    """One image, and the composed network's units more even than its twin's."""
    even = {arm: column(where(table, arm=arm), "even") for arm in ARMS}
    return [
        arms.equal("one image: pixels of the right colour"),
        Criterion.over_seeds(
            "twins", "even share, composed - traced", even["composed"] - even["traced"], GAP, "at least",
            how="published: .90 - .63, .92 - .74, .93 - .85",
        ),
    ]  # fmt: skip


def measure_published(directory: Path, draws: int = 5) -> pd.DataFrame:
    """Even shares of published pairs and of fresh weights in the wiring of the evolved one; squared error of pairs."""
    rows = []
    for image, (evolved, trained) in published_pairs(directory).items():
        maps = [net.maps(grid(_PICTURE))[-1].numpy() for net in (evolved, trained)]
        error = float(np.mean((colours(maps[0]) - colours(maps[1])) ** 2))
        nets = [("evolved", evolved), ("trained", trained)]
        nets += [("fresh, same wiring", fresh(evolved, seed, wiring=True)) for seed in range(draws)]
        nets += [("fresh, all wired", fresh(evolved, seed, wiring=False)) for seed in range(draws)]
        rows += [{"image": image, "arm": arm, "error": error, **shares(net, _PICTURE)} for arm, net in nets]
    return pd.DataFrame(rows)


def published_criteria(table: pd.DataFrame) -> list[Criterion]:
    """The published shares, found again, and the control's."""
    found = []
    for image in [image for image in dict.fromkeys(table["image"]) if image in PUBLISHED]:
        own = where(table, image=image)
        for arm, expected in zip(("evolved", "trained"), PUBLISHED[image], strict=True):
            value = float(column(where(own, arm=arm), "even")[0])
            found.append(Criterion(
                group=f"published {image}", name=f"even share, {arm}", value=value, expected=expected,
                tolerance=0.02, how="2505.11581's networks",
            ))  # fmt: skip
        found.append(Criterion.over_seeds(
            f"published {image}", "even share, fresh weights in the evolved wiring",
            column(where(own, arm="fresh, same wiring"), "even"), PUBLISHED[image][0], tolerance=NEAR,
            how="the control scores what the evolved network scores",
        ))  # fmt: skip
    return found


STUDY = Study(
    name="same_output", finding=1, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(12 if full else SEEDS, full, progress),
)  # fmt: skip


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--published", type=Path)
    own, rest = parser.parse_known_args(None if argv is None else list(argv))
    options = arguments("same_output", __doc__ or "", rest)
    print(CLAIM, end="\n\n")
    result = run(12 if options.full else SEEDS, options.full, published=own.published)
    result.write(options.out)
    print(result.report())
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
