"""The verb `explain`, for every sort of run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.explain.claim import Explanation
from gptsmith.explain.explaining import methods_of
from gptsmith.explain.trust import MEANINGS, trust
from gptsmith.train.classifier import Classifier
from gptsmith.workflows import explain as verbs
from tests.workflows.conftest import FLOAT32, Outcome

PROMPT = "The old smith forges"
QUICK = [FLOAT32, "train.num_steps=4", "train.batch_size=4"]
Call = Callable[..., Outcome]


def tuned(run: object, folder: Path, rows: list[dict[str, Any]], **options: Any) -> str:
    """A run that was tuned on some records for a moment."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    figures = gptsmith.finetune(run, [folder / "rows.jsonl"], out=folder / "run", settings=QUICK, **options)
    return str(figures["run"])


@pytest.fixture(scope="module")
def chatty(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model for conversations, by adapters over integers."""
    folder = tmp_path_factory.mktemp("chat")
    small = gptsmith.compress(trained["run"], to="int8", out=folder / "int8")["run"]
    return tuned(small, folder, [{"prompt": f"{n}?", "response": f"{n} of iron."} for n in range(40)], lora=4)


def test_a_word_is_explained_for_people_and_for_programs(trained: dict[str, Any], call: Call) -> None:
    options = (trained["run"], PROMPT, "--seed", 3, "--max-tokens", 12)
    shown = call("explain", *options, "--html", "why.html")
    assert shown.code == 0, shown.err
    for part in ("How sure it was", "Your words", "Can I trust this?", "in 100:"):
        assert part in shown.out
    page = Path("why.html").read_text(encoding="utf-8")
    assert "<mark" in page
    assert "Can I trust this?" in page
    assert "<script" not in page
    found = call("explain", *options, "--json").object
    assert found["reply"] == gptsmith.generate(trained["run"], PROMPT, seed=3, max_tokens=12)["text"]
    assert found["reply"][found["start"] : found["stop"]] == found["target"]["text"]
    assert (found["prompt"], found["step"]) == (PROMPT, 30)
    assert abs(found["difference"]) >= 0.1
    assert [claim["kind"] for claim in found["claims"]] == ["alternatives", "leave_one_out"]
    words = found["claims"][1]
    assert [PROMPT[item["start"] : item["stop"]].strip() for item in words["items"]] == PROMPT.split()
    assert words["verdict"] == "not tested"  # of four words one is found by luck too often


def test_in_python_a_chosen_word_is_explained_against_another(trained: dict[str, Any]) -> None:
    found = gptsmith.explain(trained["run"], f"{PROMPT} a nail.", reply=" a sword", word=2, by="tokens", seed=1)
    assert isinstance(found, Explanation)
    [_, tokens] = found.claims
    assert tokens.by == "tokens"
    assert [test.num_random for test in tokens.tests] in ([], [20, 20])
    assert ("because" in tokens.says.lower()) == (tokens.verdict == "holds")
    assert MEANINGS[tokens.verdict] in trust(found)
    grained = methods_of(["alternatives", "leave_one_out", "integrated_gradients"], by="tokens")
    assert [getattr(method, "by", None) for method in grained] == [None, "tokens", "tokens"]
    assert "<iframe" in found._repr_html_()
    whole = gptsmith.explain(trained["run"], PROMPT, reply=" a sword", whole=True)
    assert whole.against is None
    assert whole.target.text == " a sword"
    assert whole.difference < 0


def test_a_conversation_by_adapters_over_integers(chatty: str, call: Call) -> None:
    found = call("explain", chatty, "7 a?", "--seed", 2, "--max-tokens", 4, "--temperature", 1.5, "--json").object
    assert found["prompt"] == [{"role": "user", "content": "7 a?"}]
    words = found["claims"][-1]
    assert {item["message"] for item in words["items"]} == {0}
    assert [item["text"] for item in words["items"]] == ["7", "a?"]
    chat = gptsmith.chat(chatty, seed=2, max_tokens=4, temperature=1.5)
    assert found["reply"] == chat.say("7 a?")


def test_a_label_is_explained(
    trained: dict[str, Any], tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"{n} {metal} {metal}", "label": metal} for n in range(40) for metal in ("iron", "steel")]
    labelling, text = tuned(trained["run"], tmp_path, rows), "7 iron iron"
    loaded = gptsmith.load(labelling)
    assert loaded.model.score_head is not None
    torch.nn.init.normal_(loaded.model.score_head.weight, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(verbs, "load", lambda *_, **__: loaded)
    found = gptsmith.explain(labelling, text)
    assert {found.target.text, found.against.text if found.against else ""} == {"iron", "steel"}
    classifier = Classifier.of(loaded)
    assert classifier is not None
    [probabilities] = classifier.probabilities(classifier.samples([text]))
    assert found.target.probability == pytest.approx(max(probabilities), abs=1e-5)
    assert [claim.kind for claim in found.claims] == ["leave_one_out"]
    means = Classifier(loaded, classifier.objective.model_copy(update={"pooling": "mean"}))
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "of", lambda _: means)
        with pytest.raises(UserError, match="read from the last token, can be explained"):
            gptsmith.explain(labelling, text)
    for wrong, message in (
        (("--word", 1), "writes no words"),
        (("--against", "irom"), "no such label .*did you mean iron"),
        (("--method", "alternatives", "--method", "logits"), "no such kind of method"),
    ):
        refused = call("explain", labelling, text, *wrong)
        assert refused.code == 2
        assert re.search(message, refused.err), refused.err


def test_the_score_of_a_reward_model_is_explained(trained: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "chosen": "steel", "rejected": "iron"} for n in range(40)]
    run = tuned(trained["run"], tmp_path, rows, objective="reward_model")
    found = gptsmith.explain(run, "Of what?", reply="steel")
    assert found.against is None
    assert float(found.target.text) == pytest.approx(found.difference, abs=1e-3)
    *_, claim = found.claims
    assert "the score is" in claim.says
    assert {item.message for item in claim.items} == {0, 1}
    with pytest.raises(UserError, match="reward model: give the reply that it is to score with --reply"):
        gptsmith.explain(run, "Of what?")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reply", " a sword", "--word", "9"), "word 9: the reply has 2 words"),
        (("--reply", ""), "the reply is empty"),
        (("--reply", " a sword", "--word", "1", "--against", " a"), 'begins with "a", which is what was written'),
        (("--reply", " a", "--whole", "--word", "1"), "--whole is about no single word"),
        (("--reply", " a", "--by", "letters"), "by"),
        (("--system", "Be brief."), "is a base model"),
        (("--reply", " a sword" * 40, "--word", "70"), "explain a shorter prompt or an earlier word"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(
    trained: dict[str, Any], call: Call, options: tuple[str, ...], message: str
) -> None:
    refused = call("explain", trained["run"], PROMPT, *options)
    assert refused.code == 2
    assert message in refused.err
    assert refused.out == ""


@pytest.mark.parametrize("prompt", ["", "smith"])
def test_no_prompt_or_one_of_a_word_is_explained_as_far_as_it_goes(
    trained: dict[str, Any], call: Call, prompt: str
) -> None:
    found = call("explain", trained["run"], prompt, "--seed", 1, "--max-tokens", 5, "--json").object
    words = found["claims"][-1]
    assert words["verdict"] == "not tested"
    assert len(words["items"]) == len(prompt.split())
    assert ("the prompt is empty" in words["says"]) == (not prompt)


def test_the_inside_is_explained(trained: dict[str, Any], call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained["run"]
    monkeypatch.setattr("gptsmith.explain.methods.activation_patching.LEAST_DIFFERENCE", 0.0)
    shown = call("explain", run, "--check", "--heads")
    assert shown.code == 0, shown.err
    assert shown.out.count(" holds") == 8
    assert "No head with a role was found" in shown.out
    found = call("explain", run, "--between", "The old smith", "The young smith", "--json").object
    assert [claim["kind"] for claim in found["claims"]] == ["activation_patching"] * 2
    assert found["reply"] == found["target"]["text"] != found["against"]["text"]
    assert found["prompt"] == "The young smith"
    heads = {item["part"] for item in found["claims"][0]["items"]}
    assert {"blocks.0.attention.heads.0", "blocks.0.feedforward.output"} <= heads
    monkeypatch.setattr("gptsmith.explain.check.lens_logits", lambda question: 2 * question.logits[None])
    failed = call("explain", run, "--check", "--json")
    assert failed.code == 1
    assert [check["identity"] for check in failed.object["checks"] if not check["holds"]] == ["lens"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--check", "--word", 2], "--check does not go together with --word"),
        (["a prompt", "--heads"], "--heads does not go together with a prompt"),
        (["a", "--between", "b", "--against", "c"], "--between does not go together with --against"),
        (["a", "--between", "b and more"], "tokens, and states can only be exchanged between as many"),
        (["a", "--between", "a"], "which is next to nothing to explain"),
    ],
)
def test_what_does_not_go_together_inside_is_refused(
    options: list[Any], says: str, trained: dict[str, Any], call: Call
) -> None:
    refused = call("explain", trained["run"], *options)
    assert refused.code == 2
    assert says in " ".join(refused.err.split())
