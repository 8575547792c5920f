"""A tokenizer of whole words: prompts of the zoo are read by eye and by model alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SPECIAL = ("<bos>", "<pad>", "<unk>")


def word_tokenizer(words: Sequence[str], length: int) -> Any:
    """A fast tokenizer with one token a word, split at white space; it puts ``<bos>`` in front.

    Args:
        words: the vocabulary after the three special tokens, in order.
        length: tokens of the longest prompt, ``<bos>`` included.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    bos, pad, unk = SPECIAL
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, vocabulary[bos])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, pad_token=pad, unk_token=unk, padding_side="right",
        model_max_length=length, clean_up_tokenization_spaces=False,
    )  # fmt: skip
