"""Choice by log-likelihood: each option scored as the continuation of its prompt, or at its mask."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from mechdecouple.behavior.answers import Answers
from mechdecouple.behavior.forwards import EditsFor, check_finite, token_batches
from mechdecouple.behavior.options import encode_options
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import Encoded
from mechdecouple.tasks import Task


class ChoiceReader:
    """Scores every option of every item; options of one token share one forward pass of their prompt."""

    def __init__(
        self,
        model: HookedModel,
        task: Task,
        encoded: Encoded,
        batch_tokens: int,
        *,
        chat: bool = False,
        length_normalise: bool = False,
    ) -> None:
        self._model, self._task, self._batch_tokens, self._normalise = model, task, batch_tokens, length_normalise
        self._options = options = encode_options(model, task, encoded, chat=chat)
        self._width = max(len(tokens) for tokens in options.tokens)
        self._rows, items, self._wanted = _plan(options.prefix, options.tokens)
        self._items = np.array(items)
        self._spellings = _spellings(options.variants, options.tokens)
        self._first = np.array([i == 0 or items[i] != items[i - 1] for i in range(len(items))])
        last = encoded.last()
        if model.head != "mlm":
            last = np.minimum(last, [len(p) - 1 for p in options.prefix])
        self._last = last[self._items]

    def __call__(self, edits: EditsFor | None = None) -> Answers:
        shape = len(self._task), self._width
        loglik, spelt, mass = np.full(shape, -np.inf), np.zeros(shape), np.zeros(len(self._task))
        for chosen, _, logits in token_batches(
            self._model, self._rows, self._items, self._last, edits, self._batch_tokens
        ):
            self._score(chosen, logits, loglik)
            self._spell(chosen, logits, spelt, mass)
        offered = np.array([[j < len(tokens) for j in range(self._width)] for tokens in self._options.tokens])
        check_finite(np.where(offered, loglik, 0.0), np.arange(len(self._task)), self._model, self._task)
        single = np.array([all(len(ids) == 1 for ids in tokens) for tokens in self._options.tokens])
        with np.errstate(divide="ignore"):
            spelt = np.where(single[:, None], np.log(spelt), loglik)
        return self._answers(loglik, spelt, np.minimum(mass, 1.0), offered)

    def _score(self, chosen: np.ndarray, logits: Tensor, loglik: np.ndarray) -> None:
        """Sum the log-probabilities of each option's tokens into ``loglik`` [n, m]."""
        places = [
            (row, int(self._options.at[item]) + step, token, item, option)
            for row, number in enumerate(chosen)
            for item, option in self._wanted[number]
            for step, token in enumerate(self._options.tokens[item][option])
        ]
        row, position, token, item, option = np.array(places).T
        flat, where = np.unique(row * logits.shape[1] + position, return_inverse=True)
        index = torch.from_numpy(flat).to(logits.device)
        picked = logits.flatten(0, 1)[index].float()
        norm = torch.logsumexp(picked, dim=-1)
        at = torch.from_numpy(where).to(logits.device)
        values = (picked[at, torch.from_numpy(token).to(logits.device)] - norm[at]).double().cpu().numpy()
        loglik[item, option] = 0.0
        np.add.at(loglik, (item, option), values)

    def _spell(self, chosen: np.ndarray, logits: Tensor, spelt: np.ndarray, mass: np.ndarray) -> None:
        """Add the probability of each option's spellings to ``spelt`` [n, m], of all first tokens to ``mass`` [n]."""
        first = np.flatnonzero(self._first[chosen])
        if len(first) == 0:
            return
        items = self._items[chosen[first]]
        rows = torch.from_numpy(first).to(logits.device)
        ends = torch.from_numpy(self._options.at[items]).to(logits.device)
        prob = torch.softmax(logits[rows, ends].float(), dim=-1)
        row = np.repeat(np.arange(len(items)), [len(self._spellings[item]) for item in items])
        option, token = np.concatenate([self._spellings[item] for item in items]).T
        values = prob[torch.from_numpy(row).to(prob.device), torch.from_numpy(token).to(prob.device)]
        values = values.double().cpu().numpy()
        np.add.at(mass, items[row], values)
        np.add.at(spelt, (items[row[option >= 0]], option[option >= 0]), values[option >= 0])

    def _answers(self, loglik: np.ndarray, spelt: np.ndarray, mass: np.ndarray, offered: np.ndarray) -> Answers:
        task, n = self._task, len(self._task)
        assert task.choices is not None
        assert task.answers is not None
        if self._normalise:
            for item, sizes in enumerate(self._options.sizes):
                loglik[item, : len(sizes)] /= sizes
            spelt = loglik
        logp = loglik - logsumexp(loglik, axis=1, keepdims=True)
        choice = logp.argmax(axis=1)
        right = np.array([options.index(answer) for options, answer in zip(task.choices, task.answers, strict=True)])
        correct, rows = choice == right, np.arange(n)
        others = logp.copy()
        others[rows, right] = -np.inf
        expressed, claim = _expressed(task, spelt)
        return Answers.of(
            task, score=correct.astype(np.float64), correct=correct, choice=choice, logp=logp, option_mass=mass,
            answer_text=np.array([options[c] for options, c in zip(task.choices, choice, strict=True)]),
            confidence=np.exp(logp[rows, choice]), margin=logp[rows, right] - others.max(axis=1),
            expressed=expressed, claim=claim, chance=float((1 / offered.sum(axis=1)).mean()),
        )  # fmt: skip


def _spellings(variants: list[list[tuple[int, ...]]], tokens: list[list[tuple[int, ...]]]) -> list[np.ndarray]:
    """Per item [k, 2]: option and token of each spelling; option -1 for first tokens of longer options, once each."""
    known: dict[tuple, np.ndarray] = {}
    out = []
    for of_variants, of_tokens in zip(variants, tokens, strict=True):
        key = (*of_variants, *of_tokens)
        if key not in known:
            pairs = [(option, token) for option, ids in enumerate(of_variants) for token in ids]
            spelt = {token for _, token in pairs}
            pairs += [(-1, token) for token in sorted({ids[0] for ids in of_tokens} - spelt)]
            known[key] = np.array(pairs, dtype=np.int64)
        out.append(known[key])
    return out


def _expressed(task: Task, spelt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the affirming choice among the item's options [n], and whether it is the likeliest [n]."""
    expressed, claim = np.full(len(task), np.nan), np.full(len(task), np.nan)
    if task.affirm is None:
        return expressed, claim
    assert task.choices is not None
    rows = np.array([row for row, options in enumerate(task.choices) if task.affirm in options], dtype=np.int64)
    affirm = np.array([task.choices[row].index(task.affirm) for row in rows], dtype=np.int64)
    expressed[rows] = np.exp(spelt[rows, affirm] - logsumexp(spelt[rows], axis=1))
    claim[rows] = spelt[rows].argmax(axis=1) == affirm
    return expressed, claim


def _plan(
    prefixes: list[np.ndarray], tokens: list[list[tuple[int, ...]]]
) -> tuple[list[np.ndarray], list[int], list[list[tuple[int, int]]]]:
    """Rows to run [prompt + option but its last token], the item of each, and the (item, option) pairs read from each.

    What an option needs is often the beginning of what another one needs (all options of one token need the prompt
    alone); a causal model gives the same there, so only the longest is run.
    """
    rows, items, wanted = [], [], []
    for item, (prefix, options) in enumerate(zip(prefixes, tokens, strict=True)):
        needs = sorted({ids[:-1] for ids in options}, key=len, reverse=True)
        kept: list[tuple[int, ...]] = []
        for need in needs:
            if not any(longer[: len(need)] == need for longer in kept):
                kept.append(need)
        read_from = [next(k for k, row in enumerate(kept) if row[: len(ids) - 1] == ids[:-1]) for ids in options]
        for k, need in enumerate(kept):
            rows.append(np.concatenate([prefix, np.array(need, dtype=np.int64)]) if need else prefix)
            items.append(item)
            wanted.append([(item, option) for option, source in enumerate(read_from) if source == k])
    return rows, items, wanted
