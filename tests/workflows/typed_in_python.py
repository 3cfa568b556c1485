"""The types that type checkers know of the package: checked by mypy, where an error that is expected and does not come
is one too. Nothing here runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import gptsmith
from gptsmith.generate.conversation import Conversation


def with_every_source(texts: list[str]) -> None:
    figures = gptsmith.pretrain("My.txt", out=Path("run"), tokens="5M", settings={"model.num_layers": 4})
    assert_type(figures, dict[str, Any])
    records = ({"text": text} for text in texts)
    gptsmith.pretrain(records, validation=Path("held_out.txt"), callbacks=[gptsmith.Callback()])
    gptsmith.finetune("run", [{"text": "a", "label": "b"}], lora=4)
    gptsmith.evaluate(Path("run"), iter(texts))


def with_a_model() -> None:
    loaded = gptsmith.load("run")
    assert_type(loaded, gptsmith.Loaded)
    assert_type(loaded.batch(["a"]), list[str])
    assert_type(loaded.log_probabilities("a"), list[tuple[str, float]])
    assert_type(gptsmith.chat("run"), Conversation)
    assert_type(gptsmith.chat("run", system="Be brief.").say("Hello"), str)
    gptsmith.generate("run", "Once", max_tokens=5)
    with gptsmith.serve("run", background=True) as server:
        assert_type(server.address, str)


def with_mistakes() -> None:
    gptsmith.finetune("run", "data.jsonl", lora="four")  # type: ignore[call-overload]
    gptsmith.plan("My.txt", minuts=1)  # type: ignore[call-overload]
    gptsmith.generate("run", "Once", max_tokns=5)  # type: ignore[call-overload]
    gptsmith.nothing  # type: ignore[attr-defined]  # noqa: B018
