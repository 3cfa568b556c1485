"""The reference model beside the one that is trained."""

from __future__ import annotations

import pytest
import torch

from gptsmith.data.example_splits import ExampleSplits
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.reference import ReferenceModel
from tests.train.contracts import TALKS, tiny, tiny_encoder


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_reference_model_is_in_memory_once_where_the_model_is_not_trained_in_its_place(is_shared: bool) -> None:
    model = tiny()
    inputs = DatasetInputs(model, tiny_encoder(), ExampleSplits(TALKS, [], []), None, seed=0, is_shared=is_shared)
    reference = ReferenceModel(inputs).model
    for own, other in zip(reference.parameters(), model.parameters(), strict=True):
        assert torch.equal(own, other)
        assert (own.data_ptr() == other.data_ptr()) is is_shared
        assert not own.requires_grad
        assert other.requires_grad
