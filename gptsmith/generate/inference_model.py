"""A model as an engine runs it, which leaves the model that it is made of as it is."""

from __future__ import annotations

from gptsmith.model.gpt import GPT
from gptsmith.model.shared_copy import shared_copy
from gptsmith.run.sharding import is_sharded


def inference_model(model: GPT, *, int8_matmul: bool = True) -> GPT:
    """A copy of `model` in evaluation mode that shares its weights. A sharded model cannot be copied, because its
    modules gather their weights together: it is taken itself, and stays in evaluation mode.

    Args:
        int8_matmul: whether an int8 model on a CPU quantizes the inputs of its linear layers too, and its head (dynamic
            quantization). Those layers are packed anew, unless the model has been converted already.
    """
    if is_sharded(model):
        return model.eval()
    shared = shared_copy(model).eval()
    if int8_matmul:
        shared.config.linear.prepare_for_decoding(shared)
    return shared
