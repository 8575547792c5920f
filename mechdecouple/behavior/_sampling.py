"""Text drawn from a decoder model: many continuations of each prompt, equal beginnings run once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch

from mechdecouple.behavior.forwards import EditsFor, check_finite, token_batches
from mechdecouple.behavior.generate import _text, _without_end
from mechdecouple.errors import InputError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import encode
from mechdecouple.tasks import Task

Texts = list[Counter[str]]
"""Per item, how often each text was drawn."""


def silence(model: HookedModel) -> str:
    """Why a model writes no text; empty where it does."""
    return {
        "lm": "",
        "mlm": "masked language model: it generates no text",
        "class": "classifier: it generates no text",
        None: "headless encoder: it expresses nothing",
    }[model.head]


def sample_texts(
    model: HookedModel,
    task: Task,
    *,
    n_draws: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    chat: bool,
    batch_tokens: int,
    edits: EditsFor | None = None,
    decided: Callable[[int, str], bool] | None = None,
) -> Texts:
    """Continuations of each prompt until the end-of-text token, the end of the first line, or ``max_new_tokens``.

    Token tasks: exactly ``max_new_tokens`` ids, joined by spaces. Temperature 0 takes the likeliest token. Each item
    draws from a generator of its own, so what it says does not depend on the other items. ``decided`` says of a task
    row and the text so far that what follows no longer matters; the text ends there.
    """
    if n_draws < 1 or max_new_tokens < 1 or not temperature >= 0 or not np.isfinite(temperature):
        raise InputError(
            f"{n_draws} draws of {max_new_tokens} tokens at temperature {temperature}; expected at least 1, 1 and 0"
        )
    encoded = encode(model, task, chat=chat)
    words = task.tokens is None
    prompts = [_without_end(t, model.tokenizer) for t in encoded.tokens] if words else encoded.tokens
    for row, prompt in enumerate(prompts):
        if model.max_length is not None and len(prompt) + max_new_tokens - 1 > model.max_length:
            raise TaskError(
                f"{task.place(row)}: {len(prompt)} tokens and {max_new_tokens} to generate; model {model.name!r} takes "
                f"{model.max_length}; shorten the prompt or lower max_new_tokens"
            )
    last, rngs = encoded.last(), [np.random.default_rng((seed, row)) for row in range(len(task))]
    going: dict[tuple[int, tuple[int, ...]], int] = {(row, ()): n_draws for row in range(len(task))}
    done: Texts = [Counter() for _ in range(len(task))]
    for step in range(max_new_tokens):
        states, going = list(going.items()), {}
        items = np.array([item for (item, _), _ in states], dtype=np.int64)
        rows = [np.concatenate([prompts[item], np.array(made, np.int64)]) for (item, made), _ in states]
        for chosen, batch, logits in token_batches(model, rows, items, last[items], edits, batch_tokens):
            assert batch.mask is not None
            end = batch.mask.sum(dim=1).to(logits.device) - 1
            rows_at = torch.arange(len(end), device=logits.device)
            following = logits[rows_at, end].float().cpu().numpy().astype(np.float64)
            check_finite(following.max(axis=1), items[chosen], model, task)
            for k, row in zip(chosen, following, strict=True):
                (item, made), count = states[k]
                for token, times in _draw(row, count, temperature, rngs[item]).items():
                    ends = words and token == model.tokenizer.eos_token_id
                    text = made if ends else (*made, token)
                    if ends or step + 1 == max_new_tokens or (words and _ends(model, item, text, decided)):
                        done[item][_said(model, text, words)] += times
                    else:
                        going[item, text] = times
        if not going:
            break
    return done


def _draw(logits: np.ndarray, count: int, temperature: float, rng: np.random.Generator) -> Counter[int]:
    """How often each token is drawn in ``count`` draws."""
    if temperature == 0:
        return Counter({int(logits.argmax()): count})
    weights = np.cumsum(np.exp((logits - logits.max()) / temperature))
    tokens = np.searchsorted(weights, rng.random(count) * weights[-1], side="right")
    return Counter(np.minimum(tokens, len(logits) - 1).tolist())


def _ends(model: HookedModel, item: int, ids: tuple[int, ...], decided: Callable[[int, str], bool] | None) -> bool:
    text = _text(model.tokenizer, list(ids)).lstrip()
    return "\n" in text or (decided is not None and decided(item, text))


def _said(model: HookedModel, ids: tuple[int, ...], words: bool) -> str:
    if not words:
        return " ".join(map(str, ids))
    text = _text(model.tokenizer, list(ids)).strip()
    return text.splitlines()[0] if text else ""
