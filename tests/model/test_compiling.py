"""Compiled blocks against plain ones. The compiler's front end alone, so that nothing takes long."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from gptsmith.model import compiling
from gptsmith.model.compiling import compiled, missing_for_compiling
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import smith_shape

pytestmark = pytest.mark.filterwarnings("ignore")
"""PyTorch's compiler warns of what itself looks at."""
CONFIG = GPTConfig.parse({"vocab_size": 19, "context_length": 12, **smith_shape(16, 3)})
IDS = torch.randint(19, (2, 13), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", autouse=True)
def graphs() -> Iterator[list[object]]:
    """The graphs that were compiled so far, each of which runs as PyTorch runs it."""
    found: list[object] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., object]:
        found.append(graph)
        return graph.forward

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "BACKEND", backend)
        compiled.cache_clear()
        yield found
    compiled.cache_clear()
    torch.compiler.reset()


def gradients(model: GPT) -> list[Tensor]:
    model.zero_grad()
    model.cross_entropy(model.hidden(IDS[:, :-1]), IDS[:, 1:]).backward()
    return [parameter.grad.to_dense() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("recomputes", [False, True])
def test_compiled_blocks_have_the_same_gradients(graphs: list[object], recomputes: bool) -> None:
    plain = GPT(CONFIG, seed=1).double()
    fast = copy.deepcopy(plain)
    for model in (plain, fast):
        model.use_gradient_checkpointing(recomputes)
    fast.use_compiled_blocks(True)
    for a, b in zip(gradients(plain), gradients(fast), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert graphs
    assert list(plain.state_dict()) == list(fast.state_dict())


def test_all_layers_of_all_models_share_one_graph(graphs: list[object]) -> None:
    models = [GPT(CONFIG, seed=seed).double() for seed in (1, 2)]
    models.append(copy.deepcopy(models[0]))
    for model in models:
        model.use_compiled_blocks(True)
    gradients(models[0])
    known = len(graphs)
    for model in models[1:]:
        gradients(model)
    assert len(graphs) == known


def test_nothing_is_compiled_without_a_gradient(graphs: list[object]) -> None:
    model = GPT(GPTConfig.parse({"vocab_size": 19, "context_length": 12, **smith_shape(32, 1)}))
    model.use_compiled_blocks(True)
    known = len(graphs)
    with torch.inference_mode():
        model(IDS[:, :5])
    assert len(graphs) == known


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert missing_for_compiling(torch.device("cpu")) == "a C++ compiler (no-such-compiler)"
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda _: "/no/such/folder")
    assert "header files of Python" in str(missing_for_compiling(torch.device("cpu")))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert missing_for_compiling(torch.device("cuda")) is not None
    assert missing_for_compiling(torch.device("mps")) is not None
