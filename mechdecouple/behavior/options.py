"""Options as tokens: how each choice continues (or fills) its prompt, and which other tokens spell it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mechdecouple.errors import ModelError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import Encoded
from mechdecouple.tasks import Task

_OPENING = tuple("([{")
_CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """The choices of a task as one model's tokens.

    Attributes:
        prefix: per item [t] the tokens that its options share: the prompt, less a last token that merges with one.
        tokens: per item, per option: the token ids that follow (one id at the mask for masked language models).
        sizes: per item [m] length of each option, for normalising: UTF-8 bytes, or tokens where the task gives tokens.
        variants: per item, per option: ids of single tokens that spell it, its own first; empty for longer options.
        at: per item, the index whose logits predict the option's first token.
    """

    prefix: list[np.ndarray]
    tokens: list[list[tuple[int, ...]]]
    sizes: list[np.ndarray]
    variants: list[list[tuple[int, ...]]]
    at: np.ndarray


def continuation(prompt: str, option: str, *, chat: bool = False) -> str:
    """The text that follows ``prompt`` when ``option`` is the answer.

    A space goes between them unless the prompt ends with white space or an opening bracket, or the option starts with
    white space; after a chat template nothing does.
    """
    if chat or prompt[-1:].isspace() or option[:1].isspace() or prompt.endswith(_OPENING):
        return option
    return " " + option


def encode_options(model: HookedModel, task: Task, encoded: Encoded, *, chat: bool = False) -> Options:
    """The task's choices for one model.

    Prompt and option are tokenised together, as the model would meet them; where the tokenizer merges the end of the
    prompt with an option, scoring starts before the merged token, for all options of the item.

    Raises:
        TaskError: options that are empty, unknown to the vocabulary, equal once tokenised, or too long with their
            prompt; for masked language models a prompt without exactly one mask, or an option of several tokens. Names
            the row.
    """
    assert task.choices is not None
    if task.tokens is not None:
        prefix = encoded.tokens
        tokens = [[tuple(map(int, option.split())) for option in options] for options in task.choices]
        sizes = [np.array([len(t) for t in of_item], dtype=np.float64) for of_item in tokens]
    else:
        assert encoded.texts is not None
        if model.head == "mlm":
            prefix, tokens = _at_masks(model, task, encoded)
        else:
            prefix, tokens = _after_prompts(model, task, encoded, chat)
        sizes = [
            np.array([len(option.strip().encode("utf-8", "surrogatepass")) for option in options], dtype=np.float64)
            for options in task.choices
        ]
    for row, of_item in enumerate(tokens):
        _check(model, task, row, len(prefix[row]), of_item)
    at = np.array([len(p) - 1 for p in prefix])
    if model.head == "mlm":
        at = np.array([_mask_at(model, task, row, t) for row, t in enumerate(prefix)])
    return Options(prefix, tokens, sizes, _variants(model.tokenizer, task, tokens), at)


def _after_prompts(
    model: HookedModel, task: Task, encoded: Encoded, chat: bool
) -> tuple[list[np.ndarray], list[list[tuple[int, ...]]]]:
    texts, choices = encoded.texts or [], task.choices or []
    before, behind = _around(model.tokenizer, texts[0], encoded.tokens[0])
    prefixes, tokens = [], []
    for start in range(0, len(texts), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(texts)))
        joined = [texts[row] + continuation(texts[row], option, chat=chat) for row in rows for option in choices[row]]
        joint = iter(_ids(model.tokenizer, joined))
        for row in rows:
            prompt = encoded.tokens[row][before : len(encoded.tokens[row]) - behind].tolist()
            whole = [next(joint) for _ in choices[row]]
            shared = min(_shared(prompt, ids) for ids in whole)
            prefix = encoded.tokens[row][: before + shared]
            if len(prefix) == 0:
                message = "the tokenizer merges the whole prompt with an option; write a longer prompt"
                raise TaskError(f"{task.place(row)}, column prompt: {message}")
            prefixes.append(prefix)
            tokens.append([tuple(ids[shared:]) for ids in whole])
    return prefixes, tokens


def _at_masks(model: HookedModel, task: Task, encoded: Encoded) -> tuple[list[np.ndarray], list[list[tuple[int, ...]]]]:
    tokenizer, tokens = model.tokenizer, []
    for row, (text, options) in enumerate(zip(encoded.texts or [], task.choices or [], strict=True)):
        _mask_at(model, task, row, encoded.tokens[row])
        alone, *filled = _ids(tokenizer, [text, *(text.replace(tokenizer.mask_token, o.strip()) for o in options)])
        at = alone.index(tokenizer.mask_token_id)
        of_item = []
        for option, ids in zip(options, filled, strict=True):
            if len(ids) != len(alone) or ids[:at] + ids[at + 1 :] != alone[:at] + alone[at + 1 :]:
                raise TaskError(
                    f"{task.place(row)}, column choices: option {option!r} is not one token at the mask of model "
                    f"{model.name!r}; a masked language model needs one-token options"
                )
            of_item.append((ids[at],))
        tokens.append(of_item)
    return encoded.tokens, tokens


def _mask_at(model: HookedModel, task: Task, row: int, tokens: np.ndarray) -> int:
    mask = getattr(model.tokenizer, "mask_token_id", None)
    if mask is None:
        raise ModelError(f"masked language model {model.name!r} has no mask token; load it with its tokenizer")
    found = np.flatnonzero(tokens == mask)
    if len(found) != 1:
        raise TaskError(
            f"{task.place(row)}, column {'prompt' if task.tokens is None else 'tokens'}: holds {len(found)} mask "
            f"tokens; put {model.tokenizer.mask_token!r} once where model {model.name!r} is to answer"
        )
    return int(found[0])


def _check(model: HookedModel, task: Task, row: int, length: int, tokens: list[tuple[int, ...]]) -> None:
    def refuse(option: int, message: str) -> TaskError:
        text = task.choices[row][option] if task.choices else ""
        return TaskError(f"{task.place(row)}, column choices: option {text!r} {message}")

    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown == getattr(model.tokenizer, "eos_token_id", None):  # GPT-2 calls its end of text unknown
        unknown = None
    for i, ids in enumerate(tokens):
        if not ids:
            raise refuse(i, f"has no tokens for model {model.name!r}; write a visible answer")
        if unknown is not None and unknown in ids:
            raise refuse(i, f"is not in the vocabulary of model {model.name!r}; choose words that it has")
        if model.vocab_size is not None and max(ids) >= model.vocab_size:
            raise refuse(i, f"holds token {max(ids)}; ids of model {model.name!r} lie below {model.vocab_size}")
        if model.head == "mlm" and len(ids) > 1:
            raise refuse(i, "is several tokens; a masked language model needs one-token options")
        if model.max_length is not None and model.head != "mlm" and length + len(ids) - 1 > model.max_length:
            total = length + len(ids) - 1
            raise refuse(
                i, f"makes {total} tokens with its prompt; model {model.name!r} takes {model.max_length}; shorten it"
            )
    if len(set(tokens)) < len(tokens):
        i = next(i for i, ids in enumerate(tokens) if ids in tokens[:i])
        raise refuse(
            i, f"has the same tokens as another option for model {model.name!r}; make them differ in more than spelling"
        )


def _variants(tokenizer: Any, task: Task, tokens: list[list[tuple[int, ...]]]) -> list[list[tuple[int, ...]]]:
    """Single tokens that spell each option: with and without a leading space, and (from two letters on) other capitals.

    A token that spells several options of an item counts for none but the one whose own token it is.
    """
    if tokenizer is None or task.tokens is not None:
        return [[ids if len(ids) == 1 else () for ids in of_item] for of_item in tokens]
    vocabulary = tokenizer.get_vocab()
    known: dict[tuple, list[tuple[int, ...]]] = {}
    out = []
    for options, of_item in zip(task.choices or (), tokens, strict=True):
        key = (options, tuple(of_item))
        if key not in known:
            own = {ids[0] for ids in of_item if len(ids) == 1}
            spelt = [
                _spellings(vocabulary, o) if len(ids) == 1 else set() for o, ids in zip(options, of_item, strict=True)
            ]
            known[key] = [
                (ids[0], *sorted(i for i in mine - own if sum(i in s for s in spelt) == 1)) if len(ids) == 1 else ()
                for ids, mine in zip(of_item, spelt, strict=True)
            ]
        out.append(known[key])
    return out


def _spellings(vocabulary: dict[str, int], option: str) -> set[int]:
    word = option.strip()
    forms = {word, word.lower(), word.upper(), word.capitalize()} if len(word) > 1 else {word}
    # how byte-level BPE and SentencePiece write a word that follows a space
    return {vocabulary[mark + form] for form in forms for mark in ("", "Ġ", "▁") if mark + form in vocabulary}


def _n_bytes(option: str) -> int:
    return len(option.strip().encode("utf-8", "surrogatepass"))


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def _shared(a: list[int], b: list[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def _around(tokenizer: Any, text: str, tokens: np.ndarray) -> tuple[int, int]:
    """How many tokens the tokenizer puts before and behind a text, the same for every text."""
    core = _ids(tokenizer, [text])[0]
    for before in range(len(tokens) - len(core) + 1):
        if tokens[before : before + len(core)].tolist() == core:
            return before, len(tokens) - before - len(core)
    raise ModelError(
        f"the tokenizer splits {text[:40]!r} differently without its special tokens; options cannot be joined"
    )
