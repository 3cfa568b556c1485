"""Small tokenizers of the styles that other programs' models have, trained on the texts of certificates."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from gptsmith.convert.probe_texts import TEXTS
from gptsmith.text.pretokenization import GPT2_SPLIT
from gptsmith.text.tokenizer import SPACE, byte_letters

DIGITS = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
"""SmolLM's way to split text."""


def split_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Text split by a pattern, then spelt in bytes."""
    if pattern == GPT2_SPLIT:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def byte_level(
    split: pre_tokenizers.PreTokenizer, special: Sequence[str], *, bos: str | None = None, composes: bool = False
) -> Tokenizer:
    """Merges of bytes, as GPT-2, Llama 3 and Qwen have them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = split
    if composes:
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=list(byte_letters().values()), show_progress=False)
    made.train_from_iterator(TEXTS * 3, trainer)
    add_special(made, special, bos)
    return made


def sentence_piece(scheme: str | None = None, *, every_merge: bool = False) -> Tokenizer:
    """Merges of characters with bytes to fall back on, as Llama 2 and Mistral have them.

    Args:
        scheme: Metaspace's way to put spaces before words (the newer form); a normalizer's (the older) if None, and
            Gemma's, which puts none, if "gemma".
        every_merge: whether every pair of tokens that makes a token is a merge, as in Llama 2's own file.
    """
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False
    )
    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    learnt.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    learnt.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    learnt.train_from_iterator([text for text in TEXTS[:24] for _ in range(3)], trainer)
    state = json.loads(learnt.to_str())["model"]
    vocab: dict[str, int] = state["vocab"]
    merges = [tuple(pair) for pair in state["merges"]]
    if every_merge:
        merges = [
            (token[:at], token[at:])
            for token in sorted(vocab, key=vocab.__getitem__)[259:]
            for at in range(1, len(token))
            if token[:at] in vocab and token[at:] in vocab
        ]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if scheme is None:
        made.normalizer = learnt.normalizer
    elif scheme == "gemma":
        made.normalizer = normalizers.Replace(" ", SPACE)
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    strip = [] if scheme == "gemma" else [decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    add_special(made, special, "<s>")
    return made


def lowercase() -> Tokenizer:
    """GPT-1's: lowercase only, words end in </w>."""
    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    return made


def add_special(made: Tokenizer, special: Sequence[str], bos: str | None) -> None:
    """Adds special tokens; `bos` stands before every text."""
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    if bos is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
