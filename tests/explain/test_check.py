"""The identities hold for every kind, and a fault in any of them is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gptsmith.explain import check as checks
from gptsmith.explain.check import IDENTITIES, check_model
from gptsmith.explain.question import Question
from gptsmith.generate.inference_model import inference_model
from gptsmith.model import attention
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.model.norm.rmsnorm import RMSNorm
from tests.explain.conftest import random_model

MODELS: list[dict[str, Any]] = [
    *({"attention": kind, "position": "alibi"} for kind in attention.KINDS.names()),
    *({"norm_placement": placement} for placement in ("post", "output", "sandwich")),
    {"linear": "lora", "position": "learned"},
    {"linear": "int8"},
]


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_every_identity_holds(changes: dict[str, Any], question: Callable[..., Question]) -> None:
    asked = question()
    model = random_model(asked.tokenizer.vocab_size, **changes)
    found = {check.identity: check for check in check_model(model, asked.tokenizer)}
    assert list(found) == [name for name, _, _ in IDENTITIES]
    assert [check.identity for check in found.values() if not check.holds] == []
    refused = {name for name, check in found.items() if check.error is None}
    assert refused == ({"lens"} if changes.get("norm_placement") == "post" else set())
    assert found["taps"].error == 0
    assert found["deletion"].bound < 1e-10


def test_they_hold_of_integers_that_are_served_and_of_other_dtypes(question: Callable[..., Question]) -> None:
    size = question().tokenizer.vocab_size
    served = inference_model(random_model(size, linear="int8").float())
    single, half = random_model(size).float(), random_model(size).bfloat16()
    for model in (served, single, half):
        assert [check for check in check_model(model, question().tokenizer) if not check.holds] == []


def _shift(tensor: Tensor) -> Tensor:
    return tensor + 0.01


@pytest.mark.parametrize(
    ("identity", "owner", "name", "fault"),
    [
        ("patterns", FullAttention, "pattern", lambda pattern: lambda *args: pattern(*args).softmax(-1)),
        ("cache", Cache, "update", lambda update: lambda *args: [(keys, _shift(v)) for keys, v in update(*args)]),
        ("sum", RMSNorm, "frozen", lambda frozen: lambda norm, x: frozen(norm, _shift(x))),
        ("lens", checks, "lens_logits", lambda lens: lambda question: _shift(lens(question))),
        ("self-patch", checks, "record", lambda record: lambda *args: {n: _shift(x) for n, x in record(*args).items()}),
        ("all-patch", checks, "patched_states", lambda states: lambda model, ids, patches: states(model, ids, [{}])),
        ("taps", GPT, "logits", lambda logits: lambda model, hidden: logits(model, hidden) + torch.rand(())),
        ("deletion", GPT, "hidden", lambda hidden: lambda model, ids, mask=None, cache=None, segments=None: hidden(
            model, ids, None, cache, segments
        )),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_fault_is_seen(
    identity: str, owner: Any, name: str, fault: Any, question: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, fault(getattr(owner, name)))
    failed = {check.identity for check in check_model(question().model, question().tokenizer) if not check.holds}
    assert identity in failed
