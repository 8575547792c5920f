"""Examples: the items on which each latent fires most, and how strongly it fires at each of their tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.sparse import csc_matrix, csr_matrix

from mechdecouple.compare.side import Side
from mechdecouple.extract import extract
from mechdecouple.models import encode
from mechdecouple.sae import SparseAutoencoder

PER_LATENT = 8
COLUMNS = ("side", "latent", "rank", "id", "activation", "tokens", "strengths", "prompt")
_AT_ONCE = 256


def top_items(
    codes: csr_matrix, items: Int[np.ndarray, " n"], most: int = PER_LATENT
) -> list[tuple[Int[np.ndarray, " k"], np.ndarray]]:
    """For each latent the items on which it fires most, the first first, and its activation there.

    Args:
        codes: [n, m]; items: [n] the item of each row; of an item's rows (tokens) the strongest counts.

    >>> codes = csr_matrix([[0.0, 1.0], [2.0, 3.0], [0.0, 4.0]])
    >>> [found[0].tolist() for found in top_items(codes, np.array([7, 8, 8]))]
    [[8], [8, 7]]
    """
    columns = csc_matrix(codes)
    found = []
    for a, b in pairwise(columns.indptr):
        rows, values = columns.indices[a:b], np.asarray(columns.data[a:b], float)
        order = np.lexsort((rows, -values))
        own, first = np.unique(items[rows[order]], return_index=True)
        keep = np.argsort(first, kind="stable")[:most]
        found.append((own[keep], values[order][first[keep]]))
    return found


def show_examples(
    side: Side, slot: str, point: str, sae: SparseAutoencoder, latents: np.ndarray, rows: Int[np.ndarray, " n"]
) -> pd.DataFrame:
    """One row for each latent and each of its top items among the ``rows`` of ``side.acts``.

    Tokens and strengths come from running the model on these items once more and reading every token that is not
    special; a latent trained at one token may fire elsewhere, which its strengths show. Models that take tensors have
    items only.
    """
    codes = sae.encode_sparse(side.acts[point][rows])[:, latents]
    found = top_items(codes, side.acts.items[rows])
    wanted = np.unique(np.concatenate([items for items, _ in found])) if found else np.zeros(0, np.int64)
    shown = _tokens(side, point, sae, latents, wanted, found)
    prompts = side.task.prompts
    table = [
        {
            "side": slot,
            "latent": int(latent),
            "rank": rank,
            "id": str(side.task.ids[item]),
            "activation": float(activation),
            "tokens": shown[item, position][0],
            "strengths": shown[item, position][1],
            "prompt": "" if prompts is None else str(prompts[item]),
        }
        for position, (latent, (items, values)) in enumerate(zip(latents, found, strict=True))
        for rank, (item, activation) in enumerate(zip(items.tolist(), values, strict=True), start=1)
    ]
    return pd.DataFrame(table, columns=list(COLUMNS))


def _tokens(
    side: Side,
    point: str,
    sae: SparseAutoencoder,
    latents: np.ndarray,
    items: np.ndarray,
    found: list[tuple[np.ndarray, np.ndarray]],
) -> dict[tuple[int, int], tuple[list[str], list[float]]]:
    """(item, position of the latent) -> tokens and strengths, for the pairs that are shown."""
    pairs: dict[int, list[int]] = {int(item): [] for item in items}
    for position, (own, _) in enumerate(found):
        for item in own.tolist():
            pairs[item].append(position)
    if side.model.input_kind == "array":
        return {(item, position): ([], []) for item, positions in pairs.items() for position in positions}
    shown = {}
    for start in range(0, len(items), _AT_ONCE):
        some = items[start : start + _AT_ONCE]
        task, config = side.task.select(some), side.config
        options = {"batch_tokens": config.batch_tokens, "dtype": config.dtype, "chat": config.chat}
        acts = extract(side.model, task, [point], "all", progress=False, **options)
        encoded = encode(side.model, task, chat=config.chat)
        codes = sae.encode_sparse(acts[point])[:, latents].toarray()
        assert acts.tokens is not None
        for number, item in enumerate(some.tolist()):
            rows = np.flatnonzero(acts.items == number)
            tokens = _words(side.model.tokenizer, encoded.tokens[number][acts.tokens[rows]])
            table = codes[rows]
            for position in pairs[item]:
                shown[item, position] = (tokens, [float(x) for x in table[:, position]])
    return shown


def _words(tokenizer, ids: np.ndarray) -> list[str]:
    """Tokens as the tokenizer writes them; their numbers where there is none."""
    if tokenizer is None:
        return [str(i) for i in ids.tolist()]
    return [str(word) for word in tokenizer.convert_ids_to_tokens(ids.tolist())]
