"""The verbs from Python: sources in memory, callables of every verb, a loaded model, callbacks."""

from __future__ import annotations

import http.client
import pydoc
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from openai import OpenAI

import gptsmith
from gptsmith.evaluate.loglikelihood import score_continuations
from gptsmith.generate.conversation import Conversation
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Trainer

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "dog"]
SMALL = {
    "model": {"embed_dim": 16, "num_layers": 1, "num_heads": 2, "context_length": 64},
    "tokenizer.kind": "bytes",
    "train": {"batch_size": 2, "device": "cpu"},
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.choices(WORDS, k=60)) for _ in range(40)]


@pytest.fixture(scope="module")
def run(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("python") / "run"
    gptsmith.pretrain((text for text in texts), out=out, tokens=1000, settings=SMALL)
    return out


@pytest.fixture(scope="module")
def loaded(run: Path) -> gptsmith.Loaded:
    return gptsmith.load(run, device="cpu")


class Counter(gptsmith.Callback):
    """Counts steps, and ends the run after three."""

    steps = 0

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        self.steps += 1
        if self.steps == 3:
            trainer.end("stopped")

    def result(self, trainer: Trainer) -> dict[str, Any]:
        return {"signal": "SIGINT", "counted": self.steps}


def test_a_run_that_stopped_goes_on_where_the_same_texts_are_given_again(texts: list[str], tmp_path: Path) -> None:
    """What is in memory has a key of its content, as files have."""
    given: dict[str, Any] = {"out": tmp_path / "run", "tokens": 1000, "settings": SMALL}
    first = gptsmith.pretrain(iter(texts), **given, callbacks=[Counter()])
    assert (first["status"], first["step"]) == ("stopped", 3)
    again = gptsmith.pretrain([{"text": text} for text in texts], **given)
    assert (again["status"], again["run"]) == ("finished", first["run"])
    with pytest.raises(gptsmith.UserError, match="exists already"):
        gptsmith.pretrain(iter(texts[1:]), **given)


def test_every_verb_takes_records(run: Path, texts: list[str], tmp_path: Path) -> None:
    rows = [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(texts)]
    tuned = tmp_path / "tuned"
    gptsmith.finetune(
        run, datasets.Dataset.from_list(rows[:30]), validation=rows[30:35], test=rows[35:], out=tuned, epochs=0.1
    )
    found = list(gptsmith.predict(tuned, rows[:2]))
    assert [row["text"] for row in found] == texts[:2]
    assert found == list(gptsmith.predict(tuned, datasets.Dataset.from_list(rows[:2])))
    assert gptsmith.evaluate(run, iter(texts[:9]))["num_bytes"] == sum(len(text) for text in texts[:9])
    assert gptsmith.plan(iter(texts), minutes=1, settings=SMALL)


def test_callbacks_see_the_steps_of_training(run: Path, texts: list[str], tmp_path: Path) -> None:
    for verb, arguments in (
        (gptsmith.pretrain, {"sources": iter(texts), "tokens": 1000, "settings": SMALL}),
        (gptsmith.finetune, {"base": run, "sources": iter(texts), "objective": "next_token"}),
    ):
        mine = Counter()
        figures = verb(**arguments, out=tmp_path / verb.__name__, callbacks=[mine])
        assert mine.steps == figures["counted"] == 3
    with pytest.raises(gptsmith.UserError, match=r"class derived from gptsmith\.Callback"):
        gptsmith.pretrain(iter(texts), tokens=1000, callbacks=[Counter])


def test_generate_and_chat_are_functions(run: Path, loaded: gptsmith.Loaded, tmp_path: Path) -> None:
    figures = gptsmith.generate(run, "the cat", max_tokens=9, seed=3, stop="zzz")
    assert figures["text"] == loaded.generate("the cat", max_tokens=9, seed=3)
    assert figures["num_tokens"] == 9
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the cat"}\n{"prompt": "a", "note": "\u2028"}\n', "utf-8")
    both = gptsmith.generate(run, prompts=tmp_path / "prompts.jsonl", max_tokens=9, seed=3)
    assert [row["text"] for row in both] == loaded.batch(["the cat", "a"], max_tokens=9, seed=3)
    talk = gptsmith.chat(run, max_tokens=5, seed=1)
    assert isinstance(talk, Conversation)
    first = talk.say("the cat ")
    assert talk.text == f"the cat {first}"
    pieces = list(talk.stream(" and"))
    assert talk.text == f"the cat {first} and{''.join(pieces)}"
    assert repr(talk) == f"Conversation({talk.text!r})"
    with pytest.raises(gptsmith.UserError, match="a system prompt is for models"):
        gptsmith.chat(run, system="Be short.")


def test_a_loaded_model_streams_writes_batches_and_tells_log_probabilities(loaded: gptsmith.Loaded) -> None:
    assert repr(loaded).startswith(f"Loaded({loaded.run.folder}: base model, 0.0")
    assert repr(loaded).endswith("context 64, float32 on cpu)")
    stream = loaded.stream("the", max_tokens=8, seed=2)
    assert "".join(stream) == loaded.generate("the", max_tokens=8, seed=2) == stream.text
    assert stream.finish_reason == "length"
    prompts = ["the", "a cat", "", "one dog"]
    alone = [loaded.generate(prompt, max_tokens=8, seed=2, stop="q") for prompt in prompts]
    assert loaded.batch(prompts, max_tokens=8, seed=2, stop="q") == alone
    text = "the cat é"
    found = loaded.log_probabilities(text)
    assert len(found) == len(text.encode())
    assert found[0][0] == "t"
    logs = [log for _, log in found]
    assert max(logs) <= 0
    longer = loaded.log_probabilities(text + " sat")
    assert [log for _, log in longer[: len(logs)]] == pytest.approx(logs, abs=1e-4)
    with pytest.raises(gptsmith.UserError, match="do not fit in the model's context of 64"):
        loaded.log_probabilities("x" * 65)


def test_log_probabilities_are_those_that_evaluation_measures(loaded: gptsmith.Loaded) -> None:
    text, tokenizer = "the cat sat on a mat", loaded.tokenizer
    (scored,) = score_continuations(loaded.model, [(tokenizer.prompt_ids(""), tokenizer.encode(text))])
    assert sum(log for _, log in loaded.log_probabilities(text)) == pytest.approx(scored.log_likelihood, abs=1e-3)


def test_serve_runs_in_the_background_while_a_block_runs(run: Path) -> None:
    with gptsmith.serve(run, port=0, background=True, device="cpu") as server:
        assert repr(server) == f"Server(run on {server.address})"
        with OpenAI(base_url=f"{server.address}/v1", api_key="none") as client:
            answer = client.completions.create(model="run", prompt="the", max_tokens=3, extra_body={"ignore_eos": True})
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(server.address.removeprefix("http://")).connect()
    with pytest.raises(gptsmith.UserError, match="give --api-key-file"):
        gptsmith.serve(run, host="0.0.0.0", port=0)


def test_the_package_lists_its_names_without_torch_and_a_verb_beside_the_room_of_its_name() -> None:
    program = (
        "import gptsmith, inspect, sys\n"
        "assert set(gptsmith.__all__) <= set(dir(gptsmith))\n"
        "assert 'torch' not in sys.modules\n"
        "assert callable(gptsmith.plan) and callable(gptsmith.generate)\n"
        "import gptsmith.generate.sampling as sampling\n"
        "assert gptsmith.generate.sampling is sampling\n"
        "import gptsmith.serve.server, gptsmith.evaluate.statistics, gptsmith.compress.difference\n"
        "for name in ('serve', 'evaluate', 'compress', 'generate'):\n"
        "    verb = getattr(gptsmith, name)\n"
        "    assert inspect.isfunction(verb) and verb.__name__ == name and 'Args:' in verb.__doc__, verb\n"
        "    assert [*inspect.signature(verb).parameters][0] in ('run', 'runs'), verb\n"
        "assert gptsmith.serve.server.GracefulServer\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_names_of_the_package_are_explained() -> None:
    for name in ("pretrain", "generate", "chat", "serve", "Loaded"):
        described = pydoc.plain(pydoc.render_doc(getattr(gptsmith, name)))
        assert getattr(gptsmith, name).__doc__.split("\n")[0].split(";")[0][:40] in described
