"""The numbers of a comparison from the tools that a script would put together by hand; used by ``glued.py``.

TransformerLens reads answers and states and adds noise, scikit-learn shrinks covariances and fits probes,
concept-erasure erases, dimensionality counts directions, numpy and scipy do what published loops do, SAELens trains
dictionaries. Each function gives point values; intervals and nulls are what a loop around it costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import dimensionality
import numpy as np
import torch
from beliefs import logistic_loop, ridge_loop
from concept_erasure import LeaceEraser
from matching import dense
from scipy import sparse
from similarity import knn_once, pair_loop, torch_sort
from sklearn.covariance import OAS
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from transformer_lens import HookedTransformer

BATCH = 1024
Arrays = dict[str, np.ndarray]


def states(model: HookedTransformer, ids: np.ndarray, at: np.ndarray, points: list[str]) -> tuple[np.ndarray, Arrays]:
    """Logits at the last token [n, v], and states at the token ``at`` of each item by hook point [n, d]."""
    logits, found = [], {point: [] for point in points}
    for start in range(0, len(ids), BATCH):
        some = slice(start, start + BATCH)
        with torch.inference_mode():
            out, cache = model.run_with_cache(torch.tensor(ids[some]), names_filter=points)
        logits.append(out[:, -1].numpy())
        for point in points:
            found[point].append(cache[point][torch.arange(len(out)), torch.tensor(at[some])].numpy())
    return np.concatenate(logits), {point: np.concatenate(parts) for point, parts in found.items()}


class ReadOut:
    """Σ⁻¹δ with scikit-learn's shrunk covariance, δ and the threshold means over contexts."""

    def fit(self, X: np.ndarray, y: np.ndarray, context: np.ndarray | None = None) -> ReadOut:
        context = np.zeros(len(X), dtype=int) if context is None else context
        mean = np.array([[X[(context == c) & (y == label)].mean(0) for label in (0, 1)] for c in np.unique(context)])
        low, high = mean.mean(axis=0)
        self.w = np.linalg.solve(OAS().fit(X).covariance_, high - low)
        self.middle = self.w @ (low + high) / 2
        return self

    def score(self, X: np.ndarray) -> np.ndarray:
        return X @ self.w - self.middle


def within(X: np.ndarray, y: np.ndarray, context: np.ndarray) -> float:
    """Accuracy of a read-out fitted and tested in the same context, five folds."""
    folds, each = StratifiedKFold(5, shuffle=True, random_state=0), []
    for c in np.unique(context):
        Z, label = X[context == c], y[context == c]
        said = np.empty(len(Z), dtype=bool)
        for train, test in folds.split(Z, label):
            said[test] = ReadOut().fit(Z[train], label[train]).score(Z[test]) > 0
        each.append(balanced_accuracy_score(label, said))
    return float(np.mean(each))


def across(X: np.ndarray, y: np.ndarray, context: np.ndarray) -> float:
    """CCGP: accuracy in each context of a read-out fitted in the others."""
    each = []
    for c in np.unique(context):
        others = context != c
        said = ReadOut().fit(X[others], y[others], context[others]).score(X[~others]) > 0
        each.append(balanced_accuracy_score(y[~others], said))
    return float(np.mean(each))


def erased(X: np.ndarray, y: np.ndarray, context: np.ndarray) -> float:
    """AUROC within contexts after one erasure over all of them, five folds."""
    each = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        eraser = LeaceEraser.fit(torch.tensor(X[train]), torch.tensor(y[train]))
        Z = eraser(torch.tensor(X)).numpy()
        for c in np.unique(context):
            fit, score = train[context[train] == c], test[context[test] == c]
            each.append(roc_auc_score(y[score], ReadOut().fit(Z[fit], y[fit]).score(Z[score])))
    return float(np.mean(each))


def parallelism(X: np.ndarray, y: np.ndarray, context: np.ndarray) -> float:
    """Mean cosine between the differences of class means of each two contexts."""
    code = [X[(context == c) & (y == 1)].mean(0) - X[(context == c) & (y == 0)].mean(0) for c in np.unique(context)]
    code = [d / np.linalg.norm(d) for d in code]
    return float(np.mean([d @ e for d, e in itertools.combinations(code, 2)]))


def coding_overlap(X: np.ndarray, Y: np.ndarray) -> float:
    """Mean absolute cosine between the concepts' coefficients."""
    W = LinearRegression().fit(Y, X).coef_.T
    W = W / np.linalg.norm(W, axis=1, keepdims=True)
    return float(np.abs(W @ W.T)[np.triu_indices(len(W), 1)].mean())


def effective_rank(X: np.ndarray) -> float:
    size = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    share = size[size > 0] / size.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def structure(X: np.ndarray, concepts: Arrays, context: np.ndarray) -> dict[tuple[str, str], float]:
    """(metric, concept) -> value, at one hook point."""
    names, X = list(concepts), X.astype(np.float64)
    found = {
        ("participation_ratio", ""): float(dimensionality.participation_ratio(X, return_all=True)["row"]),
        ("effective_rank", ""): effective_rank(X),
        ("coding_overlap", ""): coding_overlap(X, np.stack(list(concepts.values()), axis=1)),
    }
    for name, y in concepts.items():
        other = next(concepts[n] for n in names if n != name)
        found |= {
            ("probe_accuracy", name): within(X, y, context),
            ("ccgp", name): across(X, y, context),
            ("ccgp_concepts", name): across(X, y, other),
            ("erasure_residual", name): erased(X, y, context),
            ("parallelism", name): parallelism(X, y, context),
            ("parallelism_concepts", name): parallelism(X, y, other),
        }
    return found


def cka(A: list[np.ndarray], B: list[np.ndarray]) -> np.ndarray:
    return pair_loop([X.astype(np.float64) for X in A], [Y.astype(np.float64) for Y in B])


def mutual_knn(A: list[np.ndarray], B: list[np.ndarray]) -> np.ndarray:
    return knn_once(A, B, torch_sort)


def r2_cca(A: list[np.ndarray], B: list[np.ndarray]) -> np.ndarray:
    """Mean squared canonical correlation of each pair."""

    def basis(X: np.ndarray) -> np.ndarray:
        u, size, _ = np.linalg.svd(X.astype(np.float64) - X.mean(axis=0, dtype=float), full_matrices=False)
        return u[:, size > 1e-6 * size[0]]

    return np.array([
        [np.linalg.norm(basis(X).T @ basis(Y)) ** 2 / min(basis(X).shape[1], basis(Y).shape[1]) for Y in B] for X in A
    ])  # fmt: skip


def procrustes(A: list[np.ndarray], B: list[np.ndarray]) -> np.ndarray:
    """Angle after the best rotation, of each pair."""

    def one(X: np.ndarray, Y: np.ndarray) -> float:
        X, Y = (Z.astype(np.float64) - Z.mean(axis=0, dtype=float) for Z in (X, Y))
        shared = np.linalg.svd(X.T @ Y, compute_uv=False).sum() / (np.linalg.norm(X) * np.linalg.norm(Y))
        return float(np.arccos(min(1.0, shared)))

    return np.array([[one(X, Y) for Y in B] for X in A])


SIMILARITY: dict[str, Callable[[list[np.ndarray], list[np.ndarray]], np.ndarray]] = {
    "cka": cka, "mutual_knn": mutual_knn, "r2_cca": r2_cca, "procrustes": procrustes,
}  # fmt: skip


def noisy_accuracy(
    model: HookedTransformer, ids: np.ndarray, at: np.ndarray, right: np.ndarray, options: tuple[int, int], point: str,
    sizes: list[float], draws: int,
) -> list[float]:  # fmt: skip
    """Accuracy under noise of each standard deviation a dimension at one hook point."""
    generator, found = torch.Generator().manual_seed(0), []
    rows, token = torch.arange(len(ids)), torch.tensor(at)
    for size in sizes:

        def add(value, hook, size=size):
            noise = torch.randn(len(value), value.shape[-1], generator=generator)
            value[rows, token] += size * noise
            return value

        hits = []
        for _ in range(draws):
            with torch.inference_mode():
                out = model.run_with_hooks(torch.tensor(ids), fwd_hooks=[(point, add)])[:, -1]
            hits.append(np.mean((out[:, options[1]] > out[:, options[0]]).numpy() == right))
        found.append(float(np.mean(hits)))
    return found


def belief(layers: Arrays, truth: np.ndarray, permutations: int) -> tuple[dict[str, float], Callable[[], None]]:
    """Held-out AUROC of nested logistic probes by hook point; and the work of one layer's null: two labellings."""
    fold = np.random.default_rng(0).permutation(len(truth)) % 5
    rows, group = np.arange(min(len(truth), 1500)), np.arange(len(truth))
    found = {point: logistic_loop(X, truth, group, fold) for point, X in layers.items()}
    X = next(iter(layers.values()))[rows]
    labels = np.stack([np.random.default_rng(r).permutation(truth[rows]) for r in range(permutations)])
    return found, lambda: ridge_loop(X, labels, fold[rows], at_once=False)


def dictionary(X: np.ndarray, width: int, k: int, steps: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A top-k autoencoder trained by SAELens on centred rows of root-mean-square norm √d; gives latents."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    mean = X.mean(axis=0)
    scale = X.shape[1] ** 0.5 / np.sqrt(np.square(X - mean).sum(axis=1).mean())
    rows, rng = torch.tensor((X - mean) * scale), np.random.default_rng(seed)
    batch = min(256, len(rows))
    rate = min(4e-3, 4e-4 * (2**14 / width) ** 0.5)
    torch.manual_seed(seed)
    config = SAETrainerConfig(
        n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False, device="cpu", autocast=False,
        total_training_samples=steps * batch, train_batch_size_samples=batch,
        lr=rate, lr_end=0.0, lr_scheduler_name="constant", lr_warm_up_steps=steps // 20, lr_decay_steps=steps // 3,
        adam_beta1=0.9, adam_beta2=0.999, n_restart_cycles=1, dead_feature_window=1000, feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip

    def batches():
        while True:
            order = rng.permutation(len(rows))
            for start in range(0, len(rows) - batch + 1, batch):
                yield rows[order[start : start + batch]]

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=X.shape[1], d_sae=width, k=k, apply_b_dec_to_input=True))
    trained = SAETrainer(config, sae, batches()).fit()

    def codes(Y: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return trained.encode(torch.tensor((Y - mean) * scale)).numpy()

    return codes


def matched_share(a: np.ndarray, b: np.ndarray) -> float:
    """Pairs of an assignment on correlations above .7, over the smaller number of live latents."""
    live = [np.flatnonzero((codes > 0).sum(axis=0) > 1) for codes in (a, b)]
    pairs = dense(sparse.csr_matrix(a[:, live[0]]), sparse.csr_matrix(b[:, live[1]]))
    return len(pairs) / min(len(live[0]), len(live[1]))
