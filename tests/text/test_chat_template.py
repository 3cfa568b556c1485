"""Conversations to ids: what is trained, what stays text, and what Transformers makes of the same template."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer

from gptsmith.base.errors import UserError
from gptsmith.text.chat_template import CHATML, ChatTemplate, checked_messages, default_template
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What does str.split do?"},
    {"role": "assistant", "content": "It splits a text."},
    {"role": "user", "content": "And join?"},
    {"role": "assistant", "content": "It joins texts."},
]
contents = st.text(st.sampled_from("ab \n<|>é") | st.characters(exclude_categories=["Cs"]), max_size=12)
pieces = st.lists(contents | st.sampled_from(SPECIAL_TOKENS), max_size=4).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return BytesTokenizerSettings().train(list, 0)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    text = " ".join(message["content"] for message in TALK) * 20
    return BPETokenizerSettings(vocab_size=290).train(lambda: [text], len(text))


def test_the_template_is_chatml(tokenizer: Tokenizer) -> None:
    assert ChatTemplate().render(TALK[:2], tokenizer=tokenizer, open_turn=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat does str.split do?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_what_is_trained_is_what_the_assistant_writes_and_the_end_of_its_turn(tokenizer: Tokenizer) -> None:
    encoded = ChatTemplate().encode(tokenizer, TALK)
    trained = [number for number, is_trained in zip(encoded.ids, encoded.trained, strict=True) if is_trained]
    assert tokenizer.decode(trained, keep_special=True) == "It splits a text.<|im_end|>It joins texts.<|im_end|>"
    last = ChatTemplate().encode(tokenizer, TALK, only_last=True)
    trained = [number for number, is_trained in zip(last.ids, last.trained, strict=True) if is_trained]
    assert tokenizer.decode(trained, keep_special=True) == "It joins texts.<|im_end|>"
    assert last.ids == encoded.ids


def test_a_prompt_is_the_beginning_of_the_conversation_that_follows(words: Tokenizer) -> None:
    prompt, whole = ChatTemplate().prompt_ids(words, TALK[:-1]), ChatTemplate().encode(words, TALK).ids
    assert whole[: len(prompt)] == prompt


@given(pieces, pieces)
def test_peoples_text_never_becomes_a_special_token(question: str, answer: str) -> None:
    tokenizer = BytesTokenizerSettings().train(list, 0)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    ids = ChatTemplate().encode(tokenizer, messages).ids
    control = [number for number in ids if number in tokenizer.special_ids]
    start, end = (tokenizer.special_tokens[token] for token in ("<|im_start|>", "<|im_end|>"))
    assert control == [start, end, start, end]
    expected = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
    assert tokenizer.decode(ids, keep_special=True) == expected


@pytest.mark.parametrize("seed", range(5))
def test_transformers_makes_the_same_ids(words: Tokenizer, tmp_path: Path, seed: int) -> None:
    transformers = pytest.importorskip("transformers")
    words.save(tmp_path)
    ChatTemplate().save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    chance = random.Random(seed)
    talk = [
        {"role": role, "content": " ".join(chance.choices(["It", "splits", "a text.", "And", "12\n34", "é"], k=6))}
        for role in ("system", "user", "assistant", "user")
    ]
    ids = theirs.apply_chat_template(talk, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == ChatTemplate().prompt_ids(words, talk)


def test_a_template_is_kept_with_its_run(tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path) is None
    ChatTemplate("{{ messages[0].content }}").save(tmp_path)
    loaded = ChatTemplate.load(tmp_path)
    assert loaded is not None
    assert loaded.source == "{{ messages[0].content }}"


THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.content.split('!')[0] if not loop.last else message.content }}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


@pytest.mark.parametrize(
    ("source", "messages", "problem"),
    [
        ("{% for %}", TALK, "not sound Jinja"),
        ("{{ raise_exception('only two turns') }}", TALK, "only two turns"),
        ("{{ messages.__class__.__mro__ }}", TALK, "does not take this conversation"),
        (CHATML, TALK[:2], "no turn of the assistant"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", TALK, "could not stop"),
        (THINKING, [{"role": "assistant", "content": "a!b"}, {"role": "user", "content": "c"}], "changes turn 1"),
    ],
)
def test_what_a_template_cannot_do_is_said(
    tokenizer: Tokenizer, source: str, messages: list[dict[str, str]], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        ChatTemplate(source).encode(tokenizer, messages)


def test_a_template_cannot_reach_what_is_outside_its_sandbox(tokenizer: Tokenizer) -> None:
    escape = "{{ ''.__class__.__base__.__subclasses__() }}"
    with pytest.raises(UserError):
        ChatTemplate(escape).render(TALK, tokenizer=tokenizer)
    with pytest.raises(UserError):
        ChatTemplate("{{ messages.append(1) }}").render(TALK, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "list of turns"),
        ("Hello", "list of turns"),
        ([{"role": "robot", "content": "x"}], "turn 1 needs a role"),
        ([{"role": "user", "content": 3}], "turn 1 needs a role"),
        ([*TALK[1:3], TALK[0]], "turn 3 is the system's"),
    ],
)
def test_messages_are_checked(messages: object, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        checked_messages(messages)


def test_a_tokenizer_without_turns_gets_a_template_that_ends_in_its_own_eos(tmp_path: Path) -> None:
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(["the old smith"] * 9, vocab_size=300, special_tokens=["<|done|>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|done|>"}', encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    template = default_template(tokenizer)
    encoded = template.encode(tokenizer, TALK)
    learnt = [number for number, is_trained in zip(encoded.ids, encoded.trained, strict=True) if is_trained]
    answers = [message["content"] for message in TALK if message["role"] == "assistant"]
    assert learnt == [number for text in answers for number in [*tokenizer.encode(text), tokenizer.eos_token_id]]
    prompt = template.prompt_ids(tokenizer, TALK[:2])
    assert encoded.ids[: len(prompt)] == prompt
    assert tokenizer.decode(prompt).endswith("Assistant:\n")


def test_the_usual_template_is_chatml() -> None:
    assert default_template(BytesTokenizerSettings().train(list, 0)).source == CHATML


def test_turns_that_are_not_to_be_learnt_are_read_only() -> None:
    from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

    tokenizer = BytesTokenizerSettings().train(lambda: iter(["a"]), 1)
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "no", "train": False},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "yes"},
    ]
    encoded = ChatTemplate().encode(tokenizer, messages)
    learnt = [number for number, is_trained in zip(encoded.ids, encoded.trained, strict=True) if is_trained]
    assert tokenizer.decode(learnt, keep_special=True) == "yes<|im_end|>"
