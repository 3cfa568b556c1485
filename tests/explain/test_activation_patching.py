"""Exact patching between two prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain import parts
from gptsmith.explain.methods.activation_patching import ActivationPatchingSettings, PromptPair
from gptsmith.explain.parts import parts_of
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model import attention
from gptsmith.model.taps import record, tapped
from tests.explain.conftest import random_model

REPLY = (12, 13)


def clear(question: Callable[..., Question], **changes: Any) -> Question:
    """A question about which the prompt and its reverse differ most."""
    asked = question(**changes)
    gap = asked.logits - replace(asked, prompt=Prompt(tuple(reversed(asked.prompt.ids)), ())).logits
    return replace(asked, target=int(gap.argmax()), against=int(gap.argmin()))


@pytest.mark.parametrize(("kind", "linear"), [*((k, "dense") for k in attention.KINDS.names()), ("full", "lora")])
def test_nothing_changes_nothing_and_all_embeddings_everything(
    kind: str, linear: str, question: Callable[..., Question]
) -> None:
    asked = clear(question, model=random_model(question().tokenizer.vocab_size, kind, linear=linear), reply_ids=REPLY)
    other = tuple(reversed(asked.prompt.ids))
    pair = PromptPair(asked, other)
    assert pair.changes([[], ["embedding"], ["blocks.1.output"]]) == pytest.approx([0, pair.gap, pair.gap], abs=1e-9)
    assert pair.last_changes(["blocks.1.output", "embedding"]) == pytest.approx([pair.gap, 0], abs=1e-9)
    turned = PromptPair(replace(asked, target=asked.against, against=asked.target), other)
    assert (turned.gap, turned.question.target) == (pytest.approx(pair.gap), asked.target)
    own = replace(asked, prompt=Prompt(other, ()))
    itself = PromptPair(own, asked.prompt.ids)
    itself._ids, itself.start = own.ids, itself.question.difference  # patched into itself
    assert itself.changes([[part] for part in parts_of(asked.model)]) == pytest.approx([0] * 10, abs=1e-9)


def test_every_part_is_tried_alone_whatever_is_read_beside_it(
    question: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = clear(question)
    monkeypatch.setattr(parts, "TOKENS_AT_ONCE", 3 * len(asked.ids))
    other = tuple(reversed(asked.prompt.ids))
    claim, arrival = ActivationPatchingSettings(other_ids=other).explain(asked)
    found = {item.part: item.change for item in claim.items}
    ids, others = torch.tensor([asked.ids]), torch.tensor([other])
    with torch.no_grad():
        start = asked.model(others)[0, -1]
        for part in parts_of(asked.model):
            state = record(asked.model, ids, [part])[part]
            with tapped(asked.model, {part: lambda _, state=state: state}) as copied:
                logits = copied(others)[0, -1] - start
            assert found[part] == pytest.approx(float(logits[asked.target] - logits[asked.against]), abs=1e-9)
    assert claim.rest is not None
    assert [item.part for item in arrival.items] == ["blocks.0.output", "blocks.1.output"]
    assert claim.test is None or claim.test.how == "put into the other prompt"


def test_prompts_that_do_not_fit_or_do_not_differ_are_refused(question: Callable[..., Question]) -> None:
    asked = question()
    ids = asked.prompt.ids
    with pytest.raises(UserError, match=rf"the prompts have {len(ids)} and {len(ids) - 1} tokens"):
        PromptPair(asked, ids[1:])
    with pytest.raises(UserError, match=r"differ by \+0.00 nats"):
        PromptPair(asked, ids)
