import pytest

from mechdecouple.zoo.words import SPECIAL, word_tokenizer


def test_one_token_a_word_behind_bos():
    tokenizer = word_tokenizer(["Ada", "isn't", "older-than", "|", "?"], length=8)
    assert tokenizer("Ada isn't  older-than |\n?")["input_ids"] == [0, 3, 4, 5, 6, 7]
    assert tokenizer("Ada", add_special_tokens=False)["input_ids"] == [3]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == list(SPECIAL)
    assert tokenizer.bos_token_id == 0 and tokenizer.pad_token_id == 1


def test_other_words_are_unknown():
    tokenizer = word_tokenizer(["Ada"], length=8)
    assert tokenizer("ada", add_special_tokens=False)["input_ids"] == [tokenizer.unk_token_id]


@pytest.mark.parametrize("name", ["honest", "factored"])
def test_every_word_is_known_once(recipes, name):
    words = recipes[name].words
    assert len(set(words)) == len(words)
    assert len(recipes[name].tokenizer()) == len(words) + len(SPECIAL)
