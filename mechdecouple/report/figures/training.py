"""Picture of a training: how loss, unexplained variance and sparsity of a dictionary went."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.style import COLOURS, GREY, say
from mechdecouple.sae import SparseAutoencoder


def draw_training(sae: SparseAutoencoder, ax: Axes) -> None:
    """Unexplained variance, loss and dead latents over the steps (left), and active latents a row (right).

    Each point is of one batch. The loss is drawn as a share of its first value, since its unit differs between
    architectures.
    """
    curve = sae.training.get("curve") or []
    if len(curve) < 2:
        say(ax, "This dictionary does not say how its training went.")
        return
    step, loss, fvu, l0, dead = (np.array([p[name] for p in curve], float) for name in _SHOWN)
    ax.plot(step, fvu, color=COLOURS[0], label="variance unexplained")
    ax.plot(step, loss / loss[0], color=COLOURS[0], linestyle=":", label="loss, share of its first")
    ax.plot(step, dead, color=GREY, linestyle="--", label="dead latents")
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.4)
    ax.set_ylim(0, 1.2 * max(1, fvu.max(), (loss / loss[0]).max()))
    ax.set_xlim(0, step[-1])
    ax.set_yticks([0, 0.01, 0.03, 0.1, 0.3, 1], ["0", ".01", ".03", ".1", ".3", "1"])
    ax.set_yticks([], minor=True)
    ax.set_xlabel("step")
    ax.set_ylabel("share")
    right = ax.twinx()
    right.plot(step, l0, color=COLOURS[1], linestyle="-.")
    right.set_ylim(0, 1.15 * l0.max())
    right.set_ylabel("active latents a row", color=COLOURS[1])
    right.tick_params(axis="y", colors=COLOURS[1])
    right.spines["right"].set_visible(True)
    ax.plot([], [], color=COLOURS[1], linestyle="-.", label="active latents (right)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    ax.set_title(f"Training: {sae.training.get('architecture', sae.architecture)}, {sae.width} latents")


_SHOWN = ("step", "loss", "fvu", "l0", "dead")
