"""Gradient checkpointing: the same loss and the same gradients from fewer kept activations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptsmith.model import attention
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT

SHAPE = {"vocab_size": 40, "context_length": 16, "embed_dim": 32, "num_layers": 3, "num_heads": 2}
IDS = torch.randint(40, (2, 16), generator=torch.Generator().manual_seed(1))
SEGMENTS = torch.tensor([[0] * 9 + [1] * 7, [0] * 16])


def passes(table: dict, *, checkpointing: bool) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss of a model of these settings, its gradients, and the bytes that were kept between the passes."""
    model = GPT(GPTConfig.parse({**SHAPE, **table}), seed=3).double()
    with torch.no_grad():  # the adapters' B is zero at first, and hides the gradient of A
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)) * 0.02)
    model.use_gradient_checkpointing(checkpointing)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.hidden(IDS, segments=SEGMENTS).square().sum()
        num_bytes = sum(kept.values())
    loss.backward()
    gradients = {
        name: parameter.grad.to_dense() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    return loss.detach(), gradients, num_bytes


@pytest.mark.parametrize(
    "table",
    [
        *({"attention": {"kind": kind}} for kind in attention.KINDS.names()),
        {"dropout": 0.3},
        {"linear": {"kind": "lora", "rank": 2, "dropout": 0.2}},
        {"norm_placement": "post", "position": "learned"},
    ],
    ids=str,
)
def test_loss_and_gradients_are_the_same(table: dict) -> None:
    plain_loss, plain_gradients, plain_bytes = passes(table, checkpointing=False)
    loss, gradients, num_bytes = passes(table, checkpointing=True)
    assert torch.equal(loss, plain_loss)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-12, atol=1e-12)
    assert num_bytes < plain_bytes / 2
