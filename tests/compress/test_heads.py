"""How far attention heads have moved: known answers."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from gptsmith.compress.heads import head_changes
from gptsmith.compress.methods.prune import without_layers
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset

SHAPE = {"num_layers": 3, "embed_dim": 64, "vocab_size": 30, "num_heads": 2, "head_dim": 32, "context_length": 16}
IDS = torch.randint(30, (2, 16), generator=torch.Generator().manual_seed(3))
WINDOWS = [(IDS, torch.ones_like(IDS, dtype=torch.bool)), (IDS[:1], torch.arange(16)[None] < 4)]


@pytest.fixture(scope="module")
def model() -> GPT:
    return GPT(preset("smith", **SHAPE, init="gpt2"), seed=1).eval()


def test_a_head_that_finds_more_has_moved_and_those_before_it_and_beside_it_have_not(model: GPT) -> None:
    changed = deepcopy(model)
    with torch.no_grad():
        changed.blocks[1].get_submodule("attention.value").weight[32:] *= 1.25
    first, second, third = head_changes(model, changed, range(3), WINDOWS)
    assert first == [0, 0]
    assert second == [0, pytest.approx(0.25, rel=1e-4)]
    assert all(0 < share < 0.25 for share in third)


def test_layers_that_stay_are_compared_with_what_they_were(model: GPT) -> None:
    small = without_layers(model, [0, 2])
    first, second = head_changes(model, small, [0, 2], WINDOWS)
    assert first == [0, 0]
    assert all(share > 0 for share in second)


def test_positions_that_do_not_count_are_left_out(model: GPT) -> None:
    changed = deepcopy(model)
    with torch.no_grad():
        changed.embedding.weight[IDS[0, 9]] += 1
    late = torch.arange(16)[None].expand(2, -1) < int((IDS[0, 9] == IDS).any(dim=0).nonzero()[0])
    assert head_changes(model, changed, range(3), [(IDS, late)]) == [[0, 0]] * 3
    assert head_changes(model, changed, range(3), [(IDS, ~late)])[0][0] > 0
