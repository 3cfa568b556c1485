"""Tokens drawn by given numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gptsmith.generate.sampling import (
    LARGEST,
    SMALLEST,
    NoDistributionError,
    SamplingSettings,
    apply_penalties,
    sample_from_uniform,
)

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SamplingSettings(temperature=1), [500, 300, 150, 50]),
        (SamplingSettings(temperature=1, top_k=2), [625, 375, 0, 0]),
        (SamplingSettings(temperature=1, top_p=0.9), [526, 316, 158, 0]),
        (SamplingSettings(temperature=0), [1000, 0, 0, 0]),
    ],
)
def test_even_numbers_give_every_token_its_share(settings: SamplingSettings, expected: list[int]) -> None:
    numbers = [(number + 0.5) / 1000 for number in range(1000)]
    drawn = sample_from_uniform(LOGITS.expand(1000, 4), settings, numbers)
    assert torch.bincount(drawn, minlength=4).tolist() == expected


def test_a_token_without_probability_is_never_drawn() -> None:
    """Neither by 0, which comes before the first one's share, nor by what is almost 1."""
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.9, -torch.inf]])
    plain = SamplingSettings(temperature=1)
    for number, token in ((0.0, 1), (1 - 2**-53, 3), (1.0, 3)):
        assert sample_from_uniform(logits, plain, [number]).tolist() == [token]


def test_a_rows_token_depends_on_its_own_number_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, numbers = torch.randn(50, 200, generator=generator), torch.rand(50, generator=generator).tolist()
    hot = SamplingSettings(temperature=2, top_p=0.9)
    together = sample_from_uniform(logits, hot, numbers).tolist()
    assert together == [int(sample_from_uniform(logits[row : row + 1], hot, [numbers[row]])) for row in range(50)]
    assert len(set(together)) > 20


def test_penalties_are_the_formulas() -> None:
    settings = SamplingSettings(repetition_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25)
    logits = torch.tensor([1.0, -1.0, 3.0, 4.0])
    changed = apply_penalties(logits, settings, prompt_ids=[0, 1], output_ids=[2, 2])
    # Read ones are divided where positive and multiplied where negative; written ones lose twice 0.5, and 0.25.
    assert changed.tolist() == [0.5, -2.0, 1.5 - 1.25, 4.0]
    assert logits.tolist() == [1.0, -1.0, 3.0, 4.0]


def test_min_p_leaves_what_is_probable_enough() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    settings = SamplingSettings(temperature=1.0, min_p=0.4)
    drawn = {int(sample_from_uniform(logits, settings, [number / 100])[0]) for number in range(100)}
    assert drawn == {0, 1}


FINITE = st.floats(-LARGEST, LARGEST, width=32)
SHARE = st.floats(0, 1)
SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.floats(0, LARGEST),
    top_k=st.integers(1, 9) | st.none(),
    top_p=st.floats(0, 1, exclude_min=True) | st.none(),
    min_p=SHARE | st.none(),
    repetition_penalty=st.floats(SMALLEST, LARGEST),
    frequency_penalty=st.floats(-2, 2),
    presence_penalty=st.floats(-2, 2),
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(FINITE, min_size=4, max_size=4), SETTINGS, st.floats(0, 1, exclude_max=True))
def test_whatever_is_allowed_samples_a_token(logits: list[float], sampling: SamplingSettings, number: float) -> None:
    penalised = apply_penalties(torch.tensor(logits), sampling, prompt_ids=[0, 1], output_ids=[1, 2, 2])
    (token,) = sample_from_uniform(penalised[None], sampling, [number]).tolist()
    assert 0 <= token < 4


@pytest.mark.parametrize("more", [{"temperature": 1e-300}, {"top_p": 1e-46}, {"top_p": 5e-324}, {"temperature": 1e-38}])
def test_the_smallest_numbers_leave_the_most_probable_token(more: dict[str, float]) -> None:
    sampling = SamplingSettings(**{"temperature": 1.0, **more})
    assert sample_from_uniform(LOGITS[None], sampling, [0.999]).tolist() == [0]


@pytest.mark.parametrize("more", [{"repetition_penalty": 1e-42}, {"repetition_penalty": 1e39}, {"temperature": 1e39}])
def test_numbers_that_float32_cannot_hold_are_refused(more: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SamplingSettings(**more)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("logits", [[0.0, torch.nan], [-torch.inf, -torch.inf]])
def test_from_nothing_no_token_is_sampled(logits: list[float], temperature: float) -> None:
    rows = torch.tensor([[1.0, 2.0], logits])
    with pytest.raises(NoDistributionError):
        sample_from_uniform(rows, SamplingSettings(temperature=temperature), [0.5, 0.5])
