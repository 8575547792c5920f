"""Training of sparse autoencoders beside SAELens, dictionary_learning and sparsify, on the same stored activations.

    python analyses/benchmarks/sae.py [--quick] [--architectures topk batchtopk ...] [--out FILE]

Every trainer is handed the same batches of the same file in the same order and does whole steps of its own: loss,
gradients, clipping, optimiser, counting of dead latents. They take turns of a few steps, the order reversed each time;
tokens a second are of processor time, from the fastest turn of each, and `ours / peer` is the ratio of these, in
brackets the quartiles of the ratios within a turn. L0 and the fraction of variance unexplained (FVU) are of held-out
rows, in the form in which each package uses its SAE after training.

All use Adam with the same course of the learning rate.

* SAELens: its SAETrainer, step by step, from the same initial weights as ours. Same loss, so L0 and FVU must agree.
* dictionary_learning: TopKTrainer and BatchTopKTrainer, `update`. Needs no language model here, so an absent nnsight
  is stood in for. Dead latents count after 10 million tokens, which are not reached.
* sparsify: its SparseCoder, with the optimiser ("adam"), the loss and the decoder's constraint of its Trainer, which
  itself runs only behind a language model. TopK only.

Peers that are not installed are named and skipped: `pip install --no-deps dictionary-learning==0.1.0
eai-sparsify==1.3.3 natsort schedulefree simple-parsing docstring-parser`.

The activations are planted: sums of 24 on average of 2,048 directions of uneven frequency, with noise.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

from mechdecouple.sae import ARCHITECTURES, SparseAutoencoder
from mechdecouple.sae._saelens import saelens
from mechdecouple.sae.architectures import inference_sae, training_sae
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.trainer import Trainer, share_of_rate

Codes = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
SEED = 0
HEAD = f"{'':34} {'tok/s':>8} {'ours / peer':>12} {'[quartiles]':15} {'L0':>7} {'FVU':>8}"


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is trained, and how long."""

    d: int = 256
    width: int = 4096
    k: int = 32
    batch: int = 1024
    steps: int = 240
    rows: int = 65_536
    held: int = 4096
    turn: int = 8

    @property
    def learning_rate(self) -> float:
        return 4e-4 * (2**14 / self.width) ** 0.5

    def rate(self, step: int) -> float:
        return share_of_rate(step / self.steps)


@dataclasses.dataclass
class Way:
    """One trainer: what a step does, and how its SAE encodes (whether each latent is active) and rebuilds rows."""

    step: Callable[[torch.Tensor], object]
    used: Callable[[], Codes]
    seconds: list[float] = dataclasses.field(default_factory=list)


def stored(path: Path, shape: Shape) -> np.ndarray:
    """Planted activations of root-mean-square norm √d in a file, [rows + held, d], mapped."""
    rng = np.random.default_rng(SEED)
    features, active = 8 * shape.d, 24
    directions = rng.standard_normal((features, shape.d), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    frequency = 1 / (np.arange(features) + features / 20)
    frequency *= active / frequency.sum()
    X = np.lib.format.open_memmap(path, "w+", np.float32, (shape.rows + shape.held, shape.d))
    for start in range(0, len(X), 4096):
        n = min(4096, len(X) - start)
        codes = (rng.random((n, features), dtype=np.float32) < frequency) * (
            0.2 + rng.exponential(size=(n, features)).astype(np.float32)
        )
        X[start : start + n] = codes.astype(np.float32) @ directions + 0.05 * rng.standard_normal((n, shape.d))
    X -= X[: shape.rows].mean(0)
    X *= shape.d**0.5 / np.sqrt(np.square(X[: shape.rows]).sum(1).mean())
    X.flush()
    return np.load(path, mmap_mode="r")


def of(sae: SparseAutoencoder) -> Codes:
    def codes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latents = sae.sae.encode(x)
        return latents > 0, sae.sae.decode(latents)

    return codes


def ours(architecture: str, shape: Shape, mean: torch.Tensor) -> Way:
    recipe = Recipe(architecture, width=shape.width, k=shape.k, learning_rate=shape.learning_rate, seed=SEED)
    filled = recipe.filled(shape.rows, shape.d)
    trainer = Trainer(filled, d=shape.d, steps=shape.steps, mean=mean, scale=1.0, patience=1000)
    return Way(trainer.step, lambda: of(trainer.finish()))


def saelens_trainer(architecture: str, shape: Shape, mean: torch.Tensor) -> Way:
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(SEED)
    sae = training_sae(architecture, d=shape.d, width=shape.width, k=shape.k, l1=2.0, steps=shape.steps)
    sae.b_dec.data.copy_(mean)
    config = SAETrainerConfig(
        n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False, device="cpu", autocast=False,
        total_training_samples=shape.steps * shape.batch, train_batch_size_samples=shape.batch,
        lr=shape.learning_rate, lr_end=shape.learning_rate, lr_scheduler_name="constant", lr_warm_up_steps=0,
        lr_decay_steps=0, adam_beta1=0.9, adam_beta2=0.999, n_restart_cycles=1,
        dead_feature_window=1000, feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    trainer = SAETrainer(config, sae, iter(()))
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, shape.rate)

    def step(batch: torch.Tensor) -> None:
        trainer.step(batch)
        trainer.n_training_steps += 1

    return Way(step, lambda: of(SparseAutoencoder(inference_sae(copy.deepcopy(sae), {}))))


def dictionary_learning(architecture: str, shape: Shape, mean: torch.Tensor) -> Way:
    if "nnsight" not in sys.modules and importlib.util.find_spec("nnsight") is None:
        sys.modules["nnsight"] = MagicMock()
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    kind = {"topk": TopKTrainer, "batchtopk": BatchTopKTrainer}[architecture]
    trainer = kind(
        steps=shape.steps, activation_dim=shape.d, dict_size=shape.width, k=shape.k, layer=0, lm_name="",
        lr=shape.learning_rate, warmup_steps=shape.steps // 20, decay_start=shape.steps * 2 // 3,
        threshold_beta=0.99, threshold_start_step=shape.steps // 10, seed=SEED, device="cpu",
    )  # fmt: skip
    done = iter(range(shape.steps))

    def codes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latents = trainer.ae.encode(x, use_threshold=architecture == "batchtopk")
        return latents > 0, trainer.ae.decode(latents)

    return Way(lambda batch: trainer.update(next(done), batch), lambda: codes)


def sparsify(architecture: str, shape: Shape, mean: torch.Tensor) -> Way:
    if architecture != "topk":
        raise KeyError(architecture)
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its kernels are for a GPU
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(SEED)
    coder = SparseCoder(shape.d, SparseCoderConfig(num_latents=shape.width, k=shape.k))
    coder.b_dec.data.copy_(mean)
    adam = torch.optim.Adam(coder.parameters(), lr=shape.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, shape.rate)
    silent = torch.zeros(shape.width, dtype=torch.long)

    def step(batch: torch.Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        out = coder(batch, dead_mask=silent > 10_000_000)
        (out.fvu + out.auxk_loss / 32).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        adam.zero_grad()
        schedule.step()
        fired = torch.zeros(shape.width, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        silent.add_(len(batch))
        silent[fired] = 0

    def codes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, index, _ = coder.encode(x)
        return values > 0, coder.decode(values, index)

    return Way(step, lambda: codes)


PEERS = {"SAELens": saelens_trainer, "dictionary_learning": dictionary_learning, "sparsify": sparsify}


def quality(codes: Codes, X: np.ndarray) -> tuple[float, float]:
    """L0 and FVU on held-out rows."""
    x = torch.tensor(X)
    with torch.inference_mode():
        active, rebuilt = codes(x)
    left = (x - rebuilt).double().square().sum()
    return float(active.sum()) / len(x), float(left / (x - x.mean(0)).double().square().sum())


def in_turns(ways: dict[str, Way], X: np.ndarray, shape: Shape) -> None:
    rng = np.random.default_rng(SEED)
    order = np.concatenate([rng.permutation(shape.rows) for _ in range(-(-shape.steps * shape.batch // shape.rows))])
    for turn, first in enumerate(range(0, shape.steps, shape.turn)):
        last = min(first + shape.turn, shape.steps)
        index = order[first * shape.batch : last * shape.batch].reshape(last - first, shape.batch)
        batches = [torch.from_numpy(X[np.sort(rows)]) for rows in index]
        for way in list(ways.values()) if turn % 2 else reversed(ways.values()):
            start = time.process_time()
            for batch in batches:
                way.step(batch)
            way.seconds.append((time.process_time() - start) / len(batches))


def part(architecture: str, X: np.ndarray, shape: Shape) -> list[dict]:
    """One architecture: all its trainers in turns."""
    mean = torch.from_numpy(X[: shape.rows].mean(0))
    ways, absent = {"ours": ours(architecture, shape, mean)}, []
    for name, make in PEERS.items():
        try:
            ways[name] = make(architecture, shape, mean)
        except ImportError as error:
            absent.append(f"{name} ({error.name} is not installed)")
        except KeyError:  # the peer has no such architecture, or its batch variant
            continue
    in_turns(ways, X, shape)
    rows, own = [], np.array(ways["ours"].seconds[1:])
    for name, way in ways.items():
        seconds = np.array(way.seconds[1:])  # the first turn warms up
        l0, fvu = quality(way.used(), X[shape.rows :])
        row = {"architecture": architecture, "trainer": name, "rate": shape.batch / seconds.min(), "l0": l0, "fvu": fvu}
        words = ""
        if name != "ours":
            low, high = np.quantile(seconds / own, [0.25, 0.75])
            row |= {"ratio": seconds.min() / own.min(), "low": low, "high": high}
            words = f"{row['ratio']:12.2f} [{low:.2f}, {high:.2f}]"
        print(f"{architecture + ' ' + name:34} {row['rate']:8,.0f} {words:28} {l0:7.2f} {fvu:8.4f}", flush=True)
        rows.append(row | {"seconds": seconds.tolist()})
    if absent:
        print(f"{architecture}: skipped {', '.join(absent)}")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Training of sparse autoencoders beside the public trainers.")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--steps", type=int, default=Shape.steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a small dictionary and few steps: does it run?")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = Shape(steps=options.steps)
    if options.quick:
        shape = Shape(d=32, width=256, k=8, batch=128, steps=24, rows=2048, held=512)
    load = os.getloadavg()[0]
    print(f"d={shape.d}, {shape.width:,} latents, k={shape.k}, batches of {shape.batch:,}, {shape.steps} steps")
    print(f"{options.threads} thread(s); load {load:.1f} on {os.cpu_count()} processors\n{HEAD}")
    with tempfile.TemporaryDirectory() as folder:
        X = stored(Path(folder) / "activations.npy", shape)
        rows = [row for architecture in options.architectures for row in part(architecture, X, shape)]
    if options.out:
        about = {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "sae_lens": saelens().__version__, "threads": options.threads, "load_before": load,
            "shape": dataclasses.asdict(shape),
        }  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "results": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
