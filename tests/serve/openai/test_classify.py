"""POST /v1/classify: labels of texts, beside models that write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.serve.load import load_served
from tests.serve.conftest import Served, serving

TEXTS = ["7 sword", "3 soup and a long, long tail of other words", "x", "12 cheese"]


@pytest.fixture(scope="module")
def labels(runs: Path) -> Iterator[Served]:
    with serving([str(runs / "labels"), str(runs / "chat")]) as running:
        yield running


def classify(served: Served, texts: str | list[str]) -> dict[str, Any]:
    answer = served.ask("POST", "/v1/classify", {"model": "labels", "input": texts})
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json
    return found


def test_labels_are_those_of_predict(labels: Served, runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    wanted = list(gptsmith.predict(runs / "labels", [file], device="cpu"))
    answer = classify(labels, TEXTS)
    assert [row["index"] for row in answer["data"]] == list(range(len(TEXTS)))
    for row, expected in zip(answer["data"], wanted, strict=True):
        assert row["label"] == expected["label"]
        assert row["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
        assert row["probs"] == list(row["probabilities"].values())
        assert (row["num_classes"], sum(row["probs"])) == (2, pytest.approx(1))
    assert answer["data"][0]["label"] == "tool"
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > len(TEXTS)


def test_many_texts_go_through_in_batches_and_one_alone_has_the_same_label(labels: Served) -> None:
    texts = [f"{number} {word} " + "word " * (number * 7 % 60) for number in range(40) for word in ("nail", "soup")]
    together = classify(labels, texts)["data"]
    assert len(together) == len(texts)
    for number in (0, 41, 79):
        (alone,) = classify(labels, texts[number])["data"]
        assert alone["probs"] == pytest.approx(together[number]["probs"], abs=1e-5)


def test_a_text_longer_than_the_context_is_labelled_by_its_beginning(labels: Served) -> None:
    answer = classify(labels, "sword " * 5000)
    assert answer["usage"]["prompt_tokens"] == 768


def test_a_classifier_is_listed_with_its_labels(labels: Served) -> None:
    cards = {card["id"]: card["gptsmith"] for card in labels.ask("GET", "/v1/models").json["data"]}
    assert (cards["labels"]["kind"], sorted(cards["labels"]["labels"])) == ("classifier", ["food", "tool"])
    assert (cards["chat"]["kind"], cards["chat"]["labels"]) == ("chat", None)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/responses", {"input": "a"}),
    ],
)
def test_a_classifier_writes_no_text(labels: Served, path: str, body: dict[str, Any]) -> None:
    answer = labels.ask("POST", path, {"model": "labels", **body})
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "not_a_generative_model", "model")
    assert "use /v1/classify" in answer.error["message"]


def test_a_model_that_writes_labels_nothing(labels: Served) -> None:
    answer = labels.ask("POST", "/v1/classify", {"model": "chat", "input": "a"})
    assert (answer.status, answer.error["code"]) == (400, "not_a_classifier")
    assert "use /v1/chat/completions" in answer.error["message"]


@pytest.mark.parametrize("wrong", [[], "", [""], [1, 2], None, ["a"] * 3000])
def test_wrong_inputs_are_refused_by_name(labels: Served, wrong: object) -> None:
    answer = labels.ask("POST", "/v1/classify", {"model": "labels", "input": wrong})
    assert answer.status == 400
    assert answer.error["param"].startswith("input")


def test_classifiers_of_pairs_are_not_served(runs: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {"premise": f"{n} nails", "hypothesis": f"{n + n % 2} nails", "label": ("same", "other")[n % 2]}
        for n in range(20)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    gptsmith.finetune(runs / "base", [pairs], out=tmp_path / "pairs", settings=["train.num_steps=2"])
    with pytest.raises(UserError, match=r"labels pairs of texts.*gptsmith predict"):
        load_served([str(tmp_path / "pairs")], device="cpu")
