"""A chat template is anybody's program: it ends, it stays small, and whatever it raises is one line."""

from __future__ import annotations

import pytest

from gptsmith.base.errors import DataError
from gptsmith.text import template_meter
from gptsmith.text.chat_template import CHATML, ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.text.hostile_templates import ODD, TOO_MUCH

MESSAGES = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
EVERY = TOO_MUCH | ODD


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return BytesTokenizerSettings().train(list, 0)


@pytest.fixture(autouse=True)
def _little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_meter, "WORK_PER_VALUE", 4)


@pytest.mark.parametrize("name", EVERY)
def test_a_hostile_template_is_an_error_of_one_line(name: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError) as caught:
        ChatTemplate(EVERY[name]).render(MESSAGES, tokenizer=tokenizer)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["brackets", "a long sum", "nested blocks", "a very long template"])
def test_variables_of_what_is_no_template_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(DataError) as caught:
        _ = ChatTemplate(ODD[name]).variables
    assert "\n" not in str(caught.value)


def test_the_time_of_the_thread_is_limited_too(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_meter, "LIMIT_S", -1.0)
    with pytest.raises(DataError, match="works for more than"):
        ChatTemplate("{% for i in range(1000) %}{% endfor %}").render(MESSAGES, tokenizer=tokenizer)


def test_limits_grow_with_the_conversation(tokenizer: Tokenizer) -> None:
    """What is long because people wrote much is no attack."""
    long = [{"role": ("user", "assistant")[turn % 2], "content": "word " * 2000} for turn in range(600)]
    whole = (
        "{% set ns = namespace(text='', kept=[]) %}{% for m in messages %}{% if m.content == 'x' %}{% endif %}"
        "{% set ns.kept = ns.kept + [m.role] %}"
        "{{ m.role ~ ': ' ~ m.content|trim|replace('word', 'words') }}{{ m|tojson }}{% endfor %}"
    )
    assert len(ChatTemplate(whole).render(long, tokenizer=tokenizer)) > 12_000_000
    assert len(ChatTemplate(CHATML).render(long, tokenizer=tokenizer)) > 6_000_000


def test_a_sum_has_a_size_of_what_it_holds_twice() -> None:
    meter = template_meter.Meter({})
    inner = ["x" * 10]
    assert meter.size([inner, inner]) == 2 * template_meter.NODE + 2 * (template_meter.NODE + 10)
