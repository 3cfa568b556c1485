"""Taps read and replace what the model computes, on a copy, and cost nothing where nobody looks."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gptsmith.base.errors import UserError
from gptsmith.generate.api import generate_batch
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.native.known import UnsupportedModelError, require_known
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model import attention, linear
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.twins import plain_twins
from gptsmith.model.taps import is_tapped, record, tap_names, tapped
from tests.model.contracts import build, close, some_ids

PLACEMENTS = [("full", placement) for placement in ("post", "output", "sandwich")]


def test_every_tap_is_where_its_name_says() -> None:
    model, ids = build("residual_query", "learned", residual_multiplier=0.5, embedding_multiplier=2), some_ids()
    found = record(model, ids, ["*"])
    assert list(found) == tap_names(model)
    with torch.no_grad():
        close(found["logits"], model(ids))
        close(found["blocks.0.input"], 2 * model.embedding(ids) + model.position.embedding.weight[:16])
        for layer, block in enumerate(model.blocks):
            point = {
                name.removeprefix(f"blocks.{layer}."): x
                for name, x in found.items()
                if name.startswith(f"blocks.{layer}.")
            }
            pattern, values = point["attention.pattern"], point["attention.values"].repeat_interleave(2, dim=1)
            close(point["attention.heads"], pattern @ values + point["attention.queries"])
            close(
                point["attention.output"], block.attention.output(point["attention.heads"].transpose(1, 2).flatten(2))
            )
            added = 0.5 * (point["attention.output"] + point["feedforward.output"])
            close(point["output"], point["input"] + added)
        close(found["blocks.1.input"], found["blocks.0.output"])
        close(found["final_norm"], model.final_norm(found["blocks.1.output"]))


@pytest.mark.parametrize("kind", linear.KINDS.names())
def test_looking_changes_no_bit(kind: str) -> None:
    model = build(linear={"kind": kind}).float()
    before = {name: (module.__class__, len(module._forward_hooks)) for name, module in model.named_modules()}
    with torch.no_grad():
        expected = model(some_ids())
        with tapped(model, {name: lambda tensor: None for name in tap_names(model) if "pattern" not in name}) as copied:
            assert torch.equal(copied(some_ids()), expected)
            assert is_tapped(copied)
            assert not is_tapped(model)
            assert all(mine is its for mine, its in zip(model.parameters(), copied.parameters(), strict=True))
        assert torch.equal(model(some_ids()), expected)
    assert before == {name: (module.__class__, len(module._forward_hooks)) for name, module in model.named_modules()}


@pytest.mark.parametrize(("kind", "placement"), [*((k, "pre") for k in attention.KINDS.names()), *PLACEMENTS])
def test_a_recorded_tensor_put_back_changes_nothing_and_another_is_read_from_there_on(
    placement: str, kind: str
) -> None:
    model = build(kind, norm_placement=placement)
    own, other = some_ids(), some_ids(seed=1)
    theirs = record(model, other, ["*"])
    with torch.no_grad():
        mine, expected = model(own), model(other)
        for name in tap_names(model):
            with tapped(model, {name: lambda tensor, name=name: theirs[name]}) as copied:
                close(copied(other), expected)
                changed = copied(own)
            if name in ("embedding", "blocks.0.input", "blocks.0.output", "final_norm", "logits"):
                close(changed, expected)  # all that follows depends on it alone
            else:
                assert (changed - mine).abs().max() > 1e-3
        close(copied(own), mine)  # after the block the copy is as the model


def test_a_head_is_read_and_replaced_by_its_number() -> None:
    model, ids = build(), some_ids()
    whole = record(model, ids, ["blocks.1.attention.heads", "blocks.1.attention.heads.2", "blocks.1.attention.keys.1"])
    assert torch.equal(whole["blocks.1.attention.heads"][:, 2], whole["blocks.1.attention.heads.2"])
    assert whole["blocks.1.attention.keys.1"].shape == (2, 16, 8)
    output = model.blocks[1].attention.output
    with torch.no_grad():
        output.weight.data.view(32, 4, 8)[:, 2] = 0  # a head that is not read
        expected = model(ids)
        for head, is_read in ((2, False), (3, True)):
            with tapped(model, {f"blocks.1.attention.heads.{head}": torch.zeros_like}) as copied:
                assert torch.equal(copied(ids), expected) != is_read
        both = {f"blocks.1.attention.heads.{head}": torch.zeros_like for head in (0, 3)}
        seen: list[Tensor] = []
        with tapped(model, {**both, "blocks.1.attention.heads": seen.append}) as copied:
            copied(ids)
        assert [bool(seen[0][:, head].any()) for head in range(4)] == [False, True, True, False]


def test_taps_of_a_tapped_model_see_what_was_replaced() -> None:
    model, ids = build(), some_ids()
    for name in tap_names(model):
        with tapped(model, {name: torch.zeros_like}) as once, tapped(once, {name: lambda tensor: None}) as twice:
            assert not record(twice, ids, [name])[name].any()
        assert record(twice, ids, [name])[name].any()


def test_the_engine_writes_with_parts_off_and_no_faster_program_takes_their_place() -> None:
    model = build("sliding_window")
    model.float()

    def written(some: GPT) -> list[int]:
        sampling, prompts = SamplingSettings(temperature=0), [[1, 2, 3], [4, 5, 6, 7]]
        texts = generate_batch(some, None, prompts, max_tokens=8, sampling=sampling, seeds=[0, 0])
        return [token for text in texts for token in text.ids]

    plain = written(model)
    for name in ("blocks.0.attention.heads.1", "blocks.1.attention.pattern", "blocks.1.feedforward.output", "logits"):
        with tapped(model, {name: torch.zeros_like}) as copied:
            served = inference_model(copied)
            assert is_tapped(served)
            with pytest.raises(UnsupportedModelError, match="hooks or taps"):
                require_known(served)
            one = written(copied)
            assert one != plain
            with torch.no_grad():  # token by token, without a cache
                ids = [1, 2, 3]
                for _ in range(8):
                    ids.append(int(copied(torch.tensor([ids]))[0, -1].argmax()))
            assert one[:8] == ids[3:]
        assert written(copied) == plain
    hooked = build()
    hooked.blocks[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedModelError, match="hooks or taps"):
        require_known(hooked)


def test_others_who_use_the_model_meanwhile_are_not_disturbed() -> None:
    model, ids = build(), some_ids()
    with torch.no_grad():
        expected = model(ids)
        found: list[Tensor] = []

        def other() -> None:
            with torch.no_grad():
                found.append(model(ids))

        def meanwhile(tensor: Tensor) -> Tensor:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            return torch.zeros_like(tensor)

        with tapped(model, {"blocks.0.attention.output": meanwhile}) as copied:
            assert not torch.equal(copied(ids), expected)
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "blocks.0.attention.head",
            r"no such tap: 'blocks.0.attention.head' \(did you mean blocks.0.attention.heads\?",
        ),
        ("blocks.2.output", "did you mean blocks.[01].output"),
        ("blocks.0.attention.heads.4", r"heads are 0 to 3"),
        ("blocks.0.attention.keys.2", r"heads are 0 to 1"),
        ("blocks.0.output.1", "no such tap"),
        ("Something of a person's", r"taps are embedding, .* N up to 1"),
    ],
)
def test_a_name_of_no_tap_is_refused(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        record(build(), some_ids(), [name])


def test_an_attention_that_does_not_say_where_it_looks_is_refused_by_name() -> None:
    class Silent(FullAttention):
        pattern = attention.Attention.pattern

    model = build()
    model.blocks[0].attention.__class__ = Silent
    assert record(model, some_ids(), ["blocks.0.attention.heads"])["blocks.0.attention.heads"].any()
    with pytest.raises(UserError, match="attention of the kind Silent does not say where it looks"):
        record(model, some_ids(), ["blocks.0.attention.pattern"])


def test_a_tensor_that_does_not_fit_is_refused() -> None:
    with (
        tapped(build(), {"blocks.0.output": lambda tensor: tensor[..., :3]}) as copied,
        pytest.raises(
            UserError, match=r"blocks.0.output: a tensor of shape \(2, 16, 3\) cannot replace .* \(2, 16, 32\)"
        ),
    ):
        copied(some_ids())


@pytest.mark.parametrize("kind", attention.KINDS.names())
@pytest.mark.parametrize("cap", [None, 5.0])
def test_plain_twins_are_the_same_and_differentiable_twice(kind: str, cap: float | None) -> None:
    if kind == "additive":
        cap = None  # its scores are no products
    changes: dict[str, Any] = {"kind": kind, "num_kv_heads": 2, "qk_norm": True}
    changes |= {"sinks": True, "score_cap": cap} if cap else {}
    changes |= {"window_size": 5} if kind == "sliding_window" else {}
    model, ids = build(attention=changes), some_ids(1, 7)

    def gradient(create_graph: bool) -> tuple[Tensor, Tensor]:
        vectors = model.embedding(ids).detach().requires_grad_()
        with tapped(model, {"embedding": lambda _: vectors}) as copied:
            (found,) = torch.autograd.grad(copied(ids).square().sum(), vectors, create_graph=create_graph)
        return vectors, found

    _, fast = gradient(create_graph=False)
    with plain_twins():
        vectors, plain = gradient(create_graph=True)
        close(plain, fast, atol=1e-8 * float(fast.abs().max()))
        (second,) = torch.autograd.grad(plain.square().sum(), vectors)
    assert second.isfinite().all()
    assert second.any()
    with pytest.raises(RuntimeError):  # without them, it is not
        torch.autograd.grad(gradient(create_graph=True)[1].square().sum(), vectors)


def test_plain_twins_run_under_vmap() -> None:
    model, ids = build(), some_ids(1, 5)
    vectors = model.embedding(ids).detach()

    def total(vectors: Tensor) -> Tensor:
        with tapped(model, {"embedding": lambda _: vectors}) as copied:
            return copied.hidden(ids).sum()

    several = torch.stack([vectors, 2 * vectors])
    with plain_twins():
        found = torch.func.vmap(torch.func.grad(total))(several)
    one = several[1].clone().requires_grad_()
    close(found[1], torch.autograd.grad(total(one), one)[0])


def test_a_shared_copy_has_hooks_of_its_own() -> None:
    from gptsmith.model.shared_copy import shared_copy

    linear_map = nn.Linear(2, 2)
    shared_copy(linear_map).register_forward_hook(lambda *_: torch.zeros(2))
    assert linear_map(torch.ones(2)).any()
