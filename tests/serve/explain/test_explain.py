"""POST /v1/explain: on the model that is served, beside other texts, and for nobody longer than it is wanted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.generate.api import generate
from gptsmith.text.chat_template import CHATML, ChatTemplate

from ..conftest import QUESTION, Served, serving

REPLY = "The smith forges a sword."
ASKED = {"model": "chat", "messages": QUESTION, "reply": REPLY, "start": REPLY.index(" sword")}


def told(served: Served, **more: Any) -> Any:
    answer = served.ask("POST", "/v1/explain", {**ASKED, **more})
    assert answer.status == 200, answer.data
    return answer.json


def test_the_figures_are_those_of_the_model_that_answers(served: Served) -> None:
    found = told(served, methods=["alternatives"])
    loaded = served.state.models.loaded["chat"].loaded
    prompt = Prompt.of_messages(loaded.tokenizer, loaded.template, QUESTION)
    before = loaded.tokenizer.encode_inside(REPLY[: ASKED["start"]])
    question = Question(
        loaded.model, loaded.tokenizer, prompt, found["target"]["token"], found["against"]["token"], tuple(before)
    )
    with torch.inference_mode():
        assert found["difference"] == pytest.approx(question.difference, abs=1e-5)
        chances = question.logits.softmax(dim=-1)
    assert found["target"]["probability"] == pytest.approx(float(chances[question.target]), abs=1e-6)
    assert (found["run"], found["reply"], found["start"]) == ("chat", REPLY, ASKED["start"])
    assert found["prompt"] == QUESTION
    (claim,) = found["claims"]
    assert claim["kind"] == "alternatives"
    assert REPLY.startswith(found["target"]["text"], found["start"])


def test_variables_of_the_template_count_as_they_do_in_the_chat(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = CHATML + "{% if enable_thinking is defined and not enable_thinking %}{{ 'A sword' }}{% endif %}"
    monkeypatch.setattr(served.state.models.loaded["chat"].loaded, "template", ChatTemplate(source))
    usual, quick = (
        told(served, methods=["alternatives"], chat_template_kwargs=variables)
        for variables in (None, {"enable_thinking": False})
    )
    assert usual["target"]["probability"] != pytest.approx(quick["target"]["probability"], rel=1e-3)


def test_a_contrast_is_chosen_by_its_text(served: Served) -> None:
    first = told(served, methods=["alternatives"])
    (claim,) = first["claims"]
    (own,) = (item["change"] for item in claim["items"] if item["text"] == first["target"]["text"])
    other = next(
        item["text"]
        for item in claim["items"]
        if abs(item["change"] - own) > 0.5 and item["text"] != first["against"]["text"] and item["text"].startswith(" ")
    )
    second = told(served, methods=["alternatives"], against=other)
    assert second["against"]["text"] == other
    ratio = math.log(second["target"]["probability"] / second["against"]["probability"])
    assert second["difference"] == pytest.approx(ratio, abs=1e-4)


@pytest.mark.parametrize(
    ("more", "param", "says"),
    [
        ({"start": 500}, "start", "25 characters"),
        ({"start": None}, "start", "start or token"),
        ({"start": None, "token": 500}, "token", "tokens, numbered from 0"),
        ({"prompt": "The"}, "prompt", "not both"),
        ({"against": " swords"}, None, "begins with"),
        ({"methods": ["integrated_gradients"]}, "methods", "gradients"),
        ({"switch_off": ["blocks.9.output"], "methods": ["alternatives"]}, None, "no such tap"),
        ({"methods": ["activation_patching"]}, None, "gptsmith explain RUN PROMPT --between OTHER"),
        ({"methods": ["steering"]}, None, "which Python alone can give"),
        ({"methods": ["guess"]}, None, "no such kind of method"),
        ({"model": "base", "reply": "x" * 3000, "messages": None, "prompt": "The", "start": 2999}, None, "context"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_sentence(
    served: Served, more: dict[str, Any], param: str | None, says: str
) -> None:
    answer = served.ask("POST", "/v1/explain", {**ASKED, **more})
    assert answer.status == 400
    assert answer.error["param"] == param
    assert says in answer.error["message"]


def test_the_network_is_read_and_written_with_parts_of_it_switched_off(served: Served) -> None:
    found = told(served, methods=["logit_lens", "direct_logit_attribution"])
    lens, parts = found["claims"]
    assert lens["items"][-1]["change"] == pytest.approx(found["difference"], abs=1e-3)
    assert sum(item["change"] for item in parts["items"]) == pytest.approx(found["difference"], abs=1e-3)
    assert found["checks"]
    assert all(check["holds"] for check in found["checks"])
    halves = [f"blocks.{layer}.{half}.output" for layer in range(2) for half in ("attention", "feedforward")]
    whole = told(served, methods=["alternatives"], switch_off=["blocks.0.attention.heads.0"], max_tokens=8)
    empty = told(served, methods=["alternatives"], switch_off=halves, max_tokens=8)
    for each in (whole, empty):
        assert each["rewritten"].startswith(REPLY[: found["start"]])
    again = told(served, methods=["alternatives"])
    assert again["target"] == {**found["target"]}
    with served.state.models.loaded["chat"].loaded.ablate(*halves) as ablated:
        prompt = Prompt.of_messages(ablated.tokenizer, ablated.template, QUESTION)
        before = ablated.tokenizer.encode_inside(REPLY[: found["start"]])
        written = "".join(
            generate(
                ablated.model,
                ablated.tokenizer,
                [*prompt.ids, *before],
                max_tokens=8,
                sampling=ablated.sampling({"temperature": 0.0}),
            )
        )
    assert empty["rewritten"] == REPLY[: found["start"]] + written


def test_words_that_are_left_out_are_places_of_the_message(served: Served) -> None:
    found = told(served, by="words")
    claim = next(claim for claim in found["claims"] if claim["kind"] == "leave_one_out")
    text = QUESTION[0]["content"]
    assert "".join(text[item["start"] : item["stop"]] for item in claim["items"]) == text
    assert {item["message"] for item in claim["items"]} == {0}


def test_an_int8_model_is_explained_by_forward_passes_and_says_that_it_cannot_forget(
    runs: Path, tmp_path: Path
) -> None:
    gptsmith.compress(runs / "base", out=tmp_path / "small", to="int8")
    with serving([str(tmp_path / "small")]) as small:
        word = {"prompt": "The old smith", "reply": REPLY, "start": ASKED["start"]}
        answer = small.ask("POST", "/v1/explain", {**word, "methods": ["leave_one_out", "direct_logit_attribution"]})
        assert answer.status == 200, answer.data
        assert all(claim["items"] for claim in answer.json["claims"])
        (text,) = small.state.models.loaded["small"].tracer.learned.texts
        passage = {"run": str(text.run), "place": 0, "num_tokens": 20}
        error = small.ask("POST", "/v1/trace", {**word, "forget": passage}).error
        assert "take no step" in error["message"]


def test_a_stream_ends_with_the_explanation_or_with_the_error(served: Served) -> None:
    def last(**more: Any) -> tuple[str, Any]:
        data = served.ask("POST", "/v1/explain", {**ASKED, "methods": ["alternatives"], "stream": True, **more}).data
        name, line = data.decode().strip().split("\n\n")[-1].split("\n")
        return name.removeprefix("event: "), json.loads(line.removeprefix("data: "))

    name, found = last()
    assert (name, found["target"]["text"][:1]) == ("explanation", " ")
    name, found = last(start=500)
    assert (name, found["status"], found["error"]["param"]) == ("error", 400, "start")


def test_no_text_is_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="gptsmith.serve"):
        told(served, methods=["alternatives"])
        served.ask("POST", "/v1/explain", {**ASKED, "against": " plough sword nail"})
    assert any("/v1/explain" in line for line in caplog.messages)
    assert not any(word in line for word in ("smith", "sword", "nail") for line in caplog.messages)
