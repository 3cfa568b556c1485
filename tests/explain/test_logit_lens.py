"""The lens behind the last block is the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.lens import decided_after, lens_logits
from gptsmith.explain.methods.logit_lens import LogitLensSettings
from gptsmith.explain.question import Question, quoted
from tests.explain.conftest import random_model


@pytest.mark.parametrize(("placement", "linear"), [("pre", "dense"), ("output", "int8"), ("sandwich", "lora")])
def test_the_last_lens_is_the_model_and_the_first_reads_the_embedding(
    placement: str, linear: str, question: Callable[..., Question]
) -> None:
    size = question().tokenizer.vocab_size
    model = random_model(size, norm_placement=placement, linear=linear, logits_scaling=2.0, logits_cap=3.0)
    asked = question(model=model)
    logits = lens_logits(asked)
    assert logits.shape == (3, size)
    torch.testing.assert_close(logits[-1], asked.logits, rtol=0, atol=1e-10)
    with torch.no_grad():
        early = model.logits(model.final_norm(model.embedding(torch.tensor([asked.ids])))[0, -1] / 2.0)
    torch.testing.assert_close(logits[0], early, rtol=0, atol=1e-10)


def test_it_is_decided_where_the_sign_changes_for_the_last_time() -> None:
    def after(*differences: float) -> int:
        return decided_after(torch.tensor(differences))

    assert after(1, 2, 3) == 0
    assert after(-1, 2, 3) == 1
    assert after(1, -2, 3, 4) == 2
    assert after(1, 2, -3) == 2
    assert after(0, 2) == 1


def test_a_model_wired_to_decide_in_its_last_block_is_said_to(question: Callable[..., Question]) -> None:
    model = random_model(question().tokenizer.vocab_size, num_layers=3)
    asked = question(model=model)
    with torch.no_grad():
        stream = model.embedding.weight[asked.ids[-1]]
        model.head.weight.zero_()
        model.head.weight[asked.against] = model.head.weight[asked.against] = stream / stream.norm()
        for block in model.blocks:
            block.attention.output.weight.zero_()
            block.feedforward.output.weight.zero_()
        direction = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        direction -= (direction @ stream) / stream.square().sum() * stream
        model.head.weight[asked.target] = direction / direction.norm()
        model.final_norm.weight.fill_(1)
        feed = model.blocks[2].feedforward
        x = model.blocks[2].feedforward_norm(stream)
        hidden = torch.nn.functional.silu(feed.gate(x)) * feed.input(x)
        feed.output.weight.copy_(torch.outer(50 * direction, hidden / hidden.square().sum()))
    [claim] = LogitLensSettings().explain(question(model=model))
    assert "after 3 of 3 blocks" in claim.says
    assert [item.part for item in claim.named] == ["blocks.2.output"]
    target, against = (quoted(asked.text_of(token)) for token in (asked.target, asked.against))
    assert f"for {target} rather than {against}" in claim.says
    [other] = LogitLensSettings().explain(question(model=model, target=asked.against, against=asked.target))
    assert f"for {target} rather than {against}" in other.says
    assert claim.verdict == "not tested"


def test_after_norm_is_refused(question: Callable[..., Question]) -> None:
    model = random_model(question().tokenizer.vocab_size, norm_placement="post")
    with pytest.raises(UserError, match=r"norm_placement=post.*direct_logit_attribution"):
        LogitLensSettings().explain(question(model=model))
