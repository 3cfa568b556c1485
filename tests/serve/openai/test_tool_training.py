"""From examples with tools to a server that returns calls of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gptsmith

from ...workflows.conftest import SMALL, write_text
from ..conftest import serving

TOOL = {
    "type": "function",
    "function": {"name": "forge", "parameters": {"type": "object", "properties": {"thing": {"enum": ["nail", "axe"]}}}},
}
QUESTION = {"role": "user", "content": "A nail?"}
CALL = {"type": "function", "function": {"name": "forge", "arguments": '{"thing": "nail"}'}}


@pytest.mark.story
def test_a_model_tuned_on_calls_returns_them(tmp_path: Path) -> None:
    text = write_text(tmp_path / "smiths", 1)
    settings = [*SMALL, "model.context_length=640", "train.batch_size=1", "train.num_steps=2"]
    base = gptsmith.pretrain([text], out=tmp_path / "base", settings=settings)["run"]
    calling = {"role": "assistant", "content": None, "reasoning_content": "Forge.", "tool_calls": [CALL]}
    data = tmp_path / "calls.jsonl"
    data.write_text((json.dumps({"messages": [QUESTION, calling], "tools": [TOOL]}) + "\n") * 4, encoding="utf-8")
    tuned = gptsmith.finetune(
        base,
        [data],
        out=tmp_path / "tuned",
        settings=[
            "train.dtype=float32", "train.num_steps=250", "train.batch_size=1", "train.optimizer.learning_rate=5e-3",
            "examples.validation_fraction=0", "examples.test_fraction=0",
        ],
    )["run"]  # fmt: skip
    with serving([tuned]) as served:
        body = {"model": "tuned", "messages": [QUESTION], "tools": [TOOL], "temperature": 0, "max_tokens": 120}
        answer = served.ask("POST", "/v1/chat/completions", body).json["choices"][0]
    (call,) = answer["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("forge", {"thing": "nail"})
    assert answer["message"]["reasoning_content"] == "Forge."
    assert answer["finish_reason"] == "tool_calls"
