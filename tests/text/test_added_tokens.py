"""Added tokens that take white space in, or stand in few places: the ids that Transformers gives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers import decoders as decoding

from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.load import load_tokenizer
from tests.convert.tokenizer_styles import byte_level, sentence_piece

END = "<|endoftext|>"
FLAGS: dict[str, dict[str, Any]] = {
    "none": {},
    "lstrip": {"lstrip": True},
    "rstrip": {"rstrip": True},
    "both": {"lstrip": True, "rstrip": True},
    "single_word": {"single_word": True},
    "normalized": {"normalized": True},
    "normalized rstrip": {"normalized": True, "rstrip": True},
}


def lowercase_words() -> Tokenizer:
    """Words in small letters, so that normalized tokens are found in capitals too."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoding.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(["the smith"] * 3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    made.add_special_tokens([END])
    return made


STYLES = {
    "bytes": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), [END]),
    "sentence piece": sentence_piece,
    "metaspace first": lambda: sentence_piece("first"),
    "lowercase": lowercase_words,
}


def folder_of(style: str, flags: str, folder: Path) -> Path:
    made = STYLES[style]()
    special = {"normalized": False, **FLAGS[flags], "special": True}
    made.add_special_tokens([AddedToken("<turn>", **special), AddedToken("mark", **special)])
    made.add_tokens([AddedToken("<tool>", **{"normalized": False, **FLAGS[flags]})])
    made.save(str(folder / "tokenizer.json"))
    end = "</s>" if made.token_to_id(END) is None else END
    (folder / "tokenizer_config.json").write_text(
        f'{{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "{end}", "clean_up_tokenization_spaces": false}}'
    )
    return folder


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("style", STYLES)
def test_ids_are_those_of_transformers(style: str, flags: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = folder_of(style, flags, tmp_path)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    chance = random.Random(f"{style} {flags}")
    pieces = ["<turn>", "<TURN>", "mark", "<tool>", " ", "  ", "\n", "the", " smith", "a", "Mark", ".", "é"]
    for _ in range(40):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 9)))
        plain = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ours.encode(text) == plain, text
        conversation = ChatTemplate(text.replace("\n", "{{ '\n' }}"))
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert conversation.rendered_ids(ours, [], open_turn=False) == expected, text


@pytest.mark.parametrize("style", STYLES)
def test_peoples_words_stay_words_beside_such_tokens(style: str, tmp_path: Path) -> None:
    ours = load_tokenizer(folder_of(style, "both", tmp_path))
    template = ChatTemplate("{{ messages[0].content }} <turn> x")
    ids = template.rendered_ids(ours, [{"role": "user", "content": "a <turn>"}], open_turn=False)
    assert ids.count(ours.special_tokens["<turn>"]) == 1


@pytest.mark.parametrize("text", ["nail", "a\nb", "日本", "", "a  b "])
@pytest.mark.parametrize("style", ["bytes", "sentence piece", "metaspace first"])
def test_a_text_comes_back_as_it_was_encoded(style: str, text: str, tmp_path: Path) -> None:
    ours = load_tokenizer(folder_of(style, "none", tmp_path))
    assert ours.decode(ours.encode(text)) == text
    assert ours.decode([*ours.bos_ids, *ours.encode(text)]) == text
    if style == "sentence piece":  # the others write no second space
        assert ours.decode(ours.encode(" " + text)) == " " + text if text else True


def test_a_piece_inside_a_text_keeps_its_space(tmp_path: Path) -> None:
    ours = load_tokenizer(folder_of("sentence piece", "none", tmp_path))
    ids = ours.encode("the smith")
    assert "".join(ours.decode([number], begins=False) for number in ids) == " the smith"
