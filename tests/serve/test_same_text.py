"""One decoder: the same prompt and seed give the same text through every door, whatever the weights are kept in, and
whatever computes them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.convert.load import load
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.generate import forward

from ..workflows.conftest import Outcome
from ..workflows.conftest import call as call  # a fixture
from .conftest import QUESTION, Served, serving

Call = Callable[..., Outcome]
PROMPT, MAX_TOKENS, SEED, TEMPERATURE = "The old smith", 40, 7, 1.2
OPTIONS = ("--max-tokens", MAX_TOKENS, "--seed", SEED, "--temperature", TEMPERATURE)


@pytest.fixture(scope="module")
def int8_runs(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    for name in ("base", "chat"):
        gptsmith.compress(runs / name, to="int8", out=folder / name)
    return folder


@pytest.fixture(scope="module", params=["float32", "int8", "int8, compiled"])
def doors(request: pytest.FixtureRequest, runs: Path, int8_runs: Path) -> Iterator[Any]:
    """A folder with the runs `base` and `chat` of one dtype, and a server of both."""
    folder = runs if request.param == "float32" else int8_runs
    with pytest.MonkeyPatch.context() as patch:
        if "compiled" in request.param:
            patch.setattr(forward, "SMALL_BYTES", 0)
        with serving([str(folder / name) for name in ("base", "chat")]) as served:
            is_native = [model.engine.forwards.is_native for model in served.state.models.loaded.values()]
            assert is_native == [bool("compiled" in request.param)] * 2
            yield folder, served


def through_generate(run: str, served: Served, call: Call) -> str:
    text: str = call("generate", run, PROMPT, *OPTIONS, "--json").object["text"]
    return text


def through_a_file(run: str, served: Served, call: Call) -> str:
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ("Iron", PROMPT)))
    lines = call("generate", run, "--prompts", "prompts.jsonl", *OPTIONS).out.splitlines()
    text: str = json.loads(lines[1])["text"]
    return text


def through_chat(run: str, served: Served, call: Call) -> str:
    line = QUESTION[0]["content"] if run.endswith("chat") else PROMPT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(f"{line}\n/quit\n"))
        text: str = json.loads(call("chat", run, *OPTIONS, "--json").out.splitlines()[0])["text"]
    return text


def through_the_server(run: str, served: Served, call: Call) -> str:
    asked: dict[str, Any] = {"max_tokens": MAX_TOKENS, "seed": SEED, "temperature": TEMPERATURE}
    if run.endswith("chat"):
        chat: Any = {"model": "chat", "messages": QUESTION}
        return served.client().chat.completions.create(**chat, **asked).choices[0].message.content or ""
    return served.client().completions.create(model="base", prompt=PROMPT, **asked).choices[0].text


def through_python(run: str, served: Served, call: Call) -> str:
    loaded = load(run, device="cpu")
    if run.endswith("chat"):
        return loaded.reply(QUESTION, max_tokens=MAX_TOKENS, seed=SEED, temperature=TEMPERATURE)
    return loaded.generate(PROMPT, max_tokens=MAX_TOKENS, seed=SEED, temperature=TEMPERATURE)


def through_a_batch(run: str, served: Served, call: Call) -> str:
    loaded = load(run, device="cpu")
    return loaded.batch(["Iron", PROMPT], max_tokens=MAX_TOKENS, seed=SEED, temperature=TEMPERATURE)[1]


@pytest.mark.parametrize("door", [through_a_file, through_chat, through_the_server, through_python, through_a_batch])
def test_a_prompt_and_a_seed_give_the_same_text_through_every_door(
    doors: tuple[Path, Served], door: Callable[..., str], call: Call
) -> None:
    folder, served = doors
    run = str(folder / "base")
    expected = through_generate(run, served, call)
    assert len(expected) > 10
    assert door(run, served, call) == expected


@pytest.mark.parametrize("door", [through_chat, through_the_server])
def test_a_conversation_and_a_seed_give_the_same_reply_through_every_door(
    doors: tuple[Path, Served], door: Callable[..., str], call: Call
) -> None:
    folder, served = doors
    run = str(folder / "chat")
    expected = through_python(run, served, call)
    assert len(expected) > 10
    assert door(run, served, call) == expected


def test_a_task_has_the_greedy_text_of_python(doors: tuple[Path, Served]) -> None:
    loaded = load(str(doors[0] / "base"), device="cpu")
    model = LanguageModel(loaded.model, loaded.tokenizer, None)
    (text,) = model.generate([loaded.tokenizer.prompt_ids(PROMPT)], max_tokens=MAX_TOKENS)
    assert text == loaded.generate(PROMPT, max_tokens=MAX_TOKENS, temperature=0)
