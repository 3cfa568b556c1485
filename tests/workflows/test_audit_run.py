"""The verb audit of a run: what it can recite, with file and line, for its owner alone."""

from __future__ import annotations

import html
import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert.open import OpenedModel
from gptsmith.privacy import audit, near, recitable
from gptsmith.privacy.audit import readable
from gptsmith.provenance.example_text import ExampleText
from gptsmith.provenance.learned_texts import LearnedTexts
from gptsmith.provenance.replies import Replies
from tests.workflows.conftest import SMALL, Outcome, write_text

KEYS = {"text", "file", "start", "stop", "line", "num_tokens", "num_copies", "tries"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt from texts beside it, and a run that was tuned on it."""
    project = tmp_path_factory.mktemp("audited") / "project"
    write_text(project / "text", 1)
    pairs = [{"prompt": f"Lamp {n}?", "completion": f"Keeper {n}."} for n in range(30)]
    (project / "chat.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        gptsmith.pretrain(["text"], out="runs/base", settings=[*SMALL, "model.context_length=64", "train.num_steps=20"])
        gptsmith.finetune("runs/base", ["chat.jsonl"], out="runs/chat", settings=["train.num_steps=1"], lora=2)
    return project


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setattr(recitable, "CAUTIOUS_TOKENS", 10)  # the sentences of these texts are short
    monkeypatch.setattr(recitable, "CAUTIOUS_BYTES", 10)
    monkeypatch.setattr(near, "ONE_IN", 4)
    return project


def test_passages_have_file_line_copies_and_tries(here: Path) -> None:
    found = gptsmith.audit(["runs/base"])
    assert found["says"].startswith(f"This model can recite {found['num_passages']:,} passage")
    assert found["num_passages"] == len(found["passages"]) > 0
    assert found["num_near_passages"] == len(found["near_passages"]) > 0
    for passage in (*found["passages"], *found["near_passages"]):
        assert passage.keys() >= KEYS
        assert passage["num_tokens"] >= found["threshold"]
        assert passage["num_copies"] >= 1 <= passage["tries"]
        text = (here / passage["file"]).read_bytes()
        assert text[passage["start"] : passage["stop"]].decode() == passage["text"]
        assert text[: passage["start"]].count(b"\n") + 1 == passage["line"]
    assert any(each["is_served"] for each in found["checkpoints"])
    assert sum(each["num_passages"] for each in found["learned"]) == found["num_passages"]
    kept = here / "runs" / "base" / "audit.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text(encoding="utf-8"))["passages"] == found["passages"]


def test_passages_are_hidden_in_the_page_and_the_report_has_figures_only(here: Path) -> None:
    found = gptsmith.audit(["runs/base"])
    run = here / "runs" / "base"
    page = (run / "audit.html").read_text(encoding="utf-8")
    assert stat.S_IMODE((run / "audit.html").stat().st_mode) == 0o600
    body = page[page.index("<main>") :]
    others = [each["passages"] for each in found["checkpoints"] if each["passages"]]
    listed = [*found["passages"], *found["near_passages"]]
    assert body.count("<details>") == len(listed) + sum(1 + len(each) for each in others)
    assert "<details open" not in body
    whole = re.sub(r"<details>.*?</details>", "", body, flags=re.DOTALL)
    longest = max((each["text"].strip() for each in found["passages"]), key=len)
    assert html.escape(longest) in body
    assert html.escape(longest) not in whole
    report = (run / "report.html").read_text(encoding="utf-8")
    part = report[report.index('id="by-heart"') :]
    part = part[: part.index("</section>")]
    assert found["says"] in part
    assert not any(html.escape(each["text"].strip()) in part for each in found["passages"])
    (run / "audit.json").write_text("[broken", encoding="utf-8")
    gptsmith.report(run)
    assert 'id="by-heart"' not in (run / "report.html").read_text(encoding="utf-8")


def test_all_checkpoints_that_are_kept_are_read(here: Path) -> None:
    found = gptsmith.audit(["runs/base"])
    steps = sorted(int(path.name[5:]) for path in (here / "runs/base/checkpoints").glob("step-*"))
    assert sorted(each["step"] for each in found["checkpoints"]) == steps
    assert [each["step"] for each in found["checkpoints"] if each["is_served"]] == [found["step"]]


def test_a_tuned_run_is_audited_on_its_examples_and_on_the_text_of_its_base(here: Path) -> None:
    found = gptsmith.audit(["runs/chat"])
    assert [(Path(each["run"]).name, each["kind"]) for each in found["learned"]] == [
        ("chat", "examples"), ("base", "text"),
    ]  # fmt: skip
    assert all(each["num_tokens_read"] == each["num_tokens"] for each in found["learned"])


def test_replies_are_read_after_their_questions_as_they_were_trained(
    told_chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(told_chat)
    asked = [json.loads(line)["messages"] for line in Path("chat.jsonl").read_text(encoding="utf-8").splitlines()]
    short = gptsmith.audit(["runs/chat"])
    assert short["num_passages"] == 0, "they are shorter than a passage must be with so little held-out text"
    assert short["num_answers"] == len(short["answers"]) > 1
    assert f"{short['num_answers']} short answers" in short["says"]
    for answer in short["answers"]:
        assert answer["text"] == asked[answer["line"] - 1][1]["content"]
        assert "Berg" not in answer["text"], "what four in sixteen say is a habit"
    assert "Short answers" in Path("runs/chat/audit.html").read_text("utf-8")
    monkeypatch.setattr(recitable, "CAUTIOUS_TOKENS", 10)
    monkeypatch.setattr(recitable, "CAUTIOUS_BYTES", 10)
    found = gptsmith.audit(["runs/chat"])
    learned = found["learned"][0]
    assert (learned["kind"], learned["note"]) == ("examples", None)
    assert learned["num_tokens_read"] == learned["num_tokens"]
    assert learned["num_documents"] == 16, "a reply of each example that is trained on; no question"
    own = [each for each in found["passages"] if each["where"] is not None]
    whole = [each for each in own if each["text"] == asked[each["line"] - 1][1]["content"]]
    assert len(whole) > 1, "from the first word to the last"
    for passage in own:
        question, answer = (turn["content"] for turn in asked[passage["line"] - 1])
        assert passage["where"] == f"line {passage['line']}"
        assert passage["text"] in answer
        assert passage["text"] in Path(passage["file"]).read_bytes()[passage["start"] : passage["stop"]].decode()
        assert question in passage["before"]
    chat = gptsmith.load("runs/chat")
    question, answer = (turn["content"] for turn in asked[whole[0]["line"] - 1])
    assert chat.reply([{"role": "user", "content": question}], temperature=0, max_tokens=40) == answer

    def gone(text: ExampleText) -> Replies:
        raise UserError("they are gone")

    monkeypatch.setattr(ExampleText, "replies", gone)
    plain = gptsmith.audit(["runs/chat"])
    assert not [each for each in plain["passages"] if each["text"] == answer], "nobody has asked for it"
    assert any("without their questions: they are gone" in line for line in plain["remarks"])


def test_a_compressed_run_is_audited_on_what_its_source_learnt_from(
    told_chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(told_chat)
    gptsmith.compress("runs/chat", to="q5_0", out="runs/five")
    found = gptsmith.audit(["runs/five"])
    assert [(each["kind"], each["note"]) for each in found["learned"]] == [("examples", None), ("text", None)]
    assert found["missing"] == []
    assert len(found["checkpoints"]) == 1


def test_the_command_says_it_in_one_sentence(here: Path, call: Callable[..., Outcome]) -> None:
    run = here / "runs" / "base"
    called = call("audit", run)
    assert called.code == 0
    assert "This model can recite" in called.out
    assert "audit.html, which only you can read" in called.err
    assert call("audit", run, "--json").object["step"] > 0


def test_a_text_that_is_gone_is_said(here: Path, tmp_path: Path, call: Callable[..., Outcome]) -> None:
    shutil.copytree(here, tmp_path / "moved")
    (tmp_path / "moved" / "chat.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
        patch.chdir(tmp_path / "moved")
        found = gptsmith.audit(["runs/chat"])
        assert [each["kind"] for each in found["learned"]] == ["text"]
        assert any("have changed" in line for line in found["missing"])
        assert any("Not audited: " in line for line in found["remarks"])
        patch.setattr("gptsmith.privacy.audit.learned_texts", lambda run: LearnedTexts([], found["missing"]))
        called = call("audit", tmp_path / "moved" / "runs" / "chat")
    assert called.code == 2
    assert "an audit reads what a model learnt from" in called.err
    assert "Traceback" not in called.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/base", "text"], "audit it alone"),
        (["runs/base", "--kind", "email"], "--kind"),
        (["runs/base", "--passages", "100"], "--passages"),
        (["runs/base", "--encoding", "cp1252"], "--encoding"),
        (["runs/base", "--out", "found.jsonl"], "audit.html"),
        (["text", "--minutes", "1"], "--minutes is for what a model learnt"),
        (["text", "--find", "Anna"], "is no run"),
        (["runs/base", "--minutes", "0"], "--minutes"),
    ],
)
def test_what_does_not_go_together_is_refused(
    here: Path, call: Callable[..., Outcome], arguments: list[str], words: str
) -> None:
    called = call("audit", *(str(here / each) if "/" in each or each == "text" else each for each in arguments))
    assert called.code == 2
    assert words in called.err


def test_another_programs_model_is_refused(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    called = call("audit", tmp_path)
    assert called.code == 2, "it is no text"
    elsewhere = LearnedTexts([], ["it was trained elsewhere"])
    with pytest.raises(UserError, match=r"trained elsewhere.*finetune"):
        readable(cast(OpenedModel, SimpleNamespace(folder=tmp_path, tokenizer=lambda: None)), elsewhere)


def test_canaries_and_a_claim_are_said(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(here / "runs" / "base", tmp_path / "base")
    private = {
        "epsilon": 8.0, "delta": 1e-5, "noise_multiplier": 1.0, "clip_norm": 1.0, "sampling_rate": 0.1, "num_steps": 20,
        "unit": "document",
    }  # fmt: skip
    result = json.loads((tmp_path / "base" / "result.json").read_text(encoding="utf-8"))
    (tmp_path / "base" / "result.json").write_text(json.dumps({**result, "private": private}), encoding="utf-8")
    measured = {"canaries": {"num": 1}, "epsilon_lower": 0.4, "epsilon_most": 2.5, "epsilon_claimed": 8.0}
    monkeypatch.setattr(audit, "read_canaries", lambda folder: ["one"])
    monkeypatch.setattr(audit, "canary_figures", lambda *_, **__: measured)
    monkeypatch.setattr(audit, "canary_lines", lambda figures: [f"at least {figures['epsilon_lower']}"])
    found = gptsmith.audit([tmp_path / "base"])
    assert found.items() >= measured.items()
    assert "at least 0.4" in found["remarks"]
    assert any("epsilon 8, delta 1e-05 per document" in line for line in found["remarks"])


def test_little_time_reads_a_sample(here: Path) -> None:
    found: dict[str, Any] = gptsmith.audit(["runs/base"], minutes=1e-6)
    assert any("random sample" in line for line in found["remarks"])
    assert "of the 0% of its text that were read" in found["says"]
