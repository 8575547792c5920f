import itertools
import unicodedata

import pytest

from mechdecouple.report.tokens import _CODES, pieces, spelling, visible


def joined(tokens, how=None):
    return "".join(text for text, _ in pieces(tokens, [0.0] * len(tokens), how or spelling(tokens)))


def gpt2(text, cuts=()):
    """A text as byte-level tokens cut at the given bytes."""
    letter = {code: char for char, code in _CODES.items()}
    raw = text.encode()
    ends = [0, *cuts, len(raw)]
    return ["".join(letter[b] for b in raw[i:j]) for i, j in itertools.pairwise(ends)]


def test_the_letters_of_bytes_are_those_of_gpt2():
    assert len(_CODES) == 256 and sorted(_CODES.values()) == list(range(256))
    # three that everyone has seen, and the last of the shifted ones (soft hyphen)
    assert [_CODES[c] for c in "ĠĊAŃ"] == [0x20, 0x0A, 0x41, 0xAD]
    tokenizers = pytest.importorskip("tokenizers")
    assert sorted(_CODES) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize("text", ["The “moon” is 🧀\n naïve 日本語", "a\tb\x00 c", "é" * 9 + " x"])
def test_byte_tokens_cut_anywhere_read_as_the_text(text):
    n = len(text.encode())
    for cuts in ([], range(1, n), range(2, n, 2), range(1, n, 3)):
        assert joined(gpt2(text, cuts), "bytes") == text


def test_pieces_of_one_character_take_the_largest_strength():
    tokens = ["Ġa", *gpt2("🧀", (1, 3)), "Ġb"]
    assert pieces(tokens, [1, 2, 5, 3, 4], "bytes") == [(" a", 1), ("🧀", 5), (" b", 4)]
    assert pieces(["<0xF0>", "<0x9F>", "<0xA7>", "<0x80>", "▁b"], [1, 2, 5, 3, 4], "plain") == [("🧀", 5), (" b", 4)]


def test_bytes_that_are_no_character_are_given_by_their_codes_and_lose_nothing():
    half, stray = gpt2("é", (1,))
    assert pieces([half, "Ġx", stray, half], [3, 1, 2, 4], "bytes") == [
        ("⟨C3⟩", 3), (" x", 1), ("⟨A9⟩", 2), ("⟨C3⟩", 4),
    ]  # fmt: skip
    assert pieces(["<0xC3>", "word"], [2, 1], "plain") == [("⟨C3⟩", 2), ("word", 1)]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["<s>", "▁The", "▁mo", "on", "<0x0A>", "▁is"], "<s> The moon\n is"),
        (["[CLS]", "un", "##believ", "##able", "##", "!"], "[CLS] unbelievable ## !"),
        (["<bos>", "cat", "sits"], "<bos> cat sits"),
        (["The", " moon", " is", "\n", "Ġorġ"], "The moon is\nĠorġ"),
        (["a", " ", "b"], "a b"),
        (["<|endoftext|>", "The", "Ġmoon", "  ", "Ċ"], "<|endoftext|>The moon  \n"),
    ],
)
def test_each_kind_of_tokenizer_reads_as_text(tokens, text):
    assert joined(tokens) == text


def test_what_hides_or_reorders_shows():
    assert visible("a\u202eb\u2066\x00\ud800\ue000\u2028\ufeff") == "a⟨202E⟩b⟨2066⟩⟨00⟩⟨D800⟩⟨E000⟩⟨2028⟩⟨FEFF⟩"
    assert visible("a\n\tb\r") == "a↵⇥b␍" and visible("👩‍🔬 שלום\u00a0é") == "👩‍🔬 שלום\u00a0é"
    every = "".join(map(chr, (*range(0x11000), *range(0xE0000, 0xE0200), *range(0x10FFF0, 0x110000))))
    shown = visible(every)
    shown.encode("utf-8")
    left = {unicodedata.category(c) for c in shown} - {"Cn"}
    assert not any(kind.startswith("C") and kind != "Cf" for kind in left) and not left & {"Zl", "Zp"}
    assert {c for c in shown if unicodedata.category(c) == "Cf"} == {"\u200c", "\u200d"}
