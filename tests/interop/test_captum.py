"""Integrated gradients are captum's, on the same path. It runs where captum is installed, which brings matplotlib:
pip install captum"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptsmith.explain.methods.integrated_gradients import integrated_gradients, mean_embedding
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model import attention
from gptsmith.model.taps import tapped
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

from ..explain.conftest import random_model

captum = pytest.importorskip("captum.attr", reason="captum is not installed")


@pytest.mark.parametrize("kind", attention.KINDS.names())
@pytest.mark.parametrize("placement", ["pre", "post", "output", "sandwich"])
def test_attributions_are_those_of_captum(kind: str, placement: str) -> None:
    tokenizer = BytesTokenizerSettings().train(list, 0)
    model = random_model(tokenizer.vocab_size, kind, norm_placement=placement)
    asked = Question(model, tokenizer, Prompt.of_text(tokenizer, "The old smith"), 40, 41)
    ids = torch.tensor([asked.ids])

    def difference(vectors: Tensor) -> Tensor:
        with tapped(model, {"embedding": lambda _: vectors}) as copied:
            logits = copied(ids.expand(len(vectors), -1))[:, -1]
        return logits[:, asked.target] - logits[:, asked.against]

    vectors = model.embedding(ids).detach()
    base = mean_embedding(model).expand_as(vectors)
    reference = captum.IntegratedGradients(difference)
    expected = reference.attribute(vectors, base, n_steps=8, method="gausslegendre").sum(dim=-1)[0]
    torch.testing.assert_close(integrated_gradients(asked, 8)[0], expected, rtol=0, atol=1e-6)  # its steps are float32
