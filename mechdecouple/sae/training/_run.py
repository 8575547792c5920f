"""One pass over the rows of a feed that trains several dictionaries, and its state in between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mechdecouple.progress import bar
from mechdecouple.sae.training.checkpoint import Checkpoint
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.rows import Feed, Moments
from mechdecouple.sae.training.trainer import Trainer


class Run:
    """Trainers of filled recipes on one feed, at its start or where ``state`` was taken."""

    def __init__(
        self,
        feed: Feed,
        recipes: Sequence[Recipe],
        *,
        steps: int,
        batch_size: int,
        device: str,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._feed, self._steps = feed, steps
        self.moments = feed.moments() if state is None else _moments(feed, state)
        # A latent counts as dead once two epochs went by without it, where epochs are short.
        patience = min(1000, max(20, 2 * math.ceil(feed.n / batch_size)))
        self.trainers = []
        for recipe in recipes:
            found, d = self.moments[recipe.hook_point], feed.widths[recipe.hook_point]
            mean, scale = torch.from_numpy(found.mean).float().to(device), math.sqrt(d) / found.rms
            self.trainers.append(
                Trainer(recipe, d=d, steps=steps, mean=mean, scale=scale, device=device, patience=patience)
            )
        if state is not None:
            self._restore(state)

    def go(self, checkpoint: Checkpoint | None, *, progress: bool) -> None:
        """Trains to the end, writing states to the checkpoint when they are due."""
        done = self.trainers[0].step_number
        batches = self._feed.batches(self._steps - done)
        with bar(progress=progress, total=self._steps, initial=done, desc="SAE", unit="step") as shown:
            for batch in batches:
                for trainer in self.trainers:
                    trainer.step(batch[trainer.recipe.hook_point])
                if shown.update():
                    last = [trainer.curve[-1] for trainer in self.trainers]
                    shown.set_postfix(fvu=" ".join(f"{point['fvu']:.3f}" for point in last))
                if checkpoint is not None and checkpoint.due:
                    checkpoint.write(self.state())

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on with the same bytes."""
        state = {f"mean.{name}": torch.from_numpy(found.mean) for name, found in self.moments.items()}
        for name, found in self.moments.items():
            state[f"spread.{name}"] = torch.tensor([found.rms, found.rows], dtype=torch.float64)
        state |= {f"feed.{name}": value for name, value in self._feed.state().items()}
        for number, trainer in enumerate(self.trainers):
            state |= {f"trainer.{number}.{name}": value for name, value in trainer.state().items()}
        return state

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self._feed.restore(part("feed."))
        for number, trainer in enumerate(self.trainers):
            trainer.restore(part(f"trainer.{number}."))


def _moments(feed: Feed, state: Mapping[str, Tensor]) -> dict[str, Moments]:
    found = {}
    for name in feed.widths:
        rms, rows = state[f"spread.{name}"].tolist()
        found[name] = Moments(state[f"mean.{name}"].numpy(), rms, int(rows))
    return found
