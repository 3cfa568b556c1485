"""Marks: kept once, changed and taken back in any order, gone from the files when deleted, read back by training."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.convert.open import open_model
from gptsmith.data.discover import discover
from gptsmith.retrieval.quotation import question_of
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.improve.held_back import digest
from gptsmith.serve.studio.marks.examples import SHAPES, examples
from gptsmith.serve.studio.marks.marks import Marks

from .conftest import Opened, opened

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "5: a nail?"}]
WRITER = """
import sys
from pathlib import Path
from gptsmith.retrieval.quotation import question_of
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.marks.marks import Marks
marks = Marks(Database(Path(sys.argv[1])))
number = int(sys.argv[2])
while True:
    answer = {"model": "m", "text": "x", "sampling": {}, "weights": None}
    mark = {"id": f"n{number}", "kind": "thumb", "verdict": "up", "at_ms": 1, "prompt": [], "answers": [answer]}
    marks.keep({**mark, "edited": None})
    print(number, flush=True)
    number += 1
"""


def answer(text: str, model: str = "chat", **more: Any) -> dict[str, Any]:
    return {"model": model, "text": text, "sampling": {"temperature": 0.5}, **more}


def thumb(name: str = "a", verdict: str = "up", at_ms: int = 1, text: str = "A nail.", **more: Any) -> dict[str, Any]:
    mark = {"id": name, "kind": "thumb", "verdict": verdict, "at_ms": at_ms, "prompt": PROMPT, "edited": None}
    return {**mark, "answers": [answer(text)], **more}


def edit(text: str, edited: str, **more: Any) -> dict[str, Any]:
    return thumb(kind="edit", verdict="edited", text=text, edited=edited, **more)


def choice(verdict: str, first: str, second: str, **more: Any) -> dict[str, Any]:
    return thumb(kind="choice", verdict=verdict, answers=[answer(first), answer(second, "base")], **more)


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Marks]:
    database = Database(tmp_path / "one.sqlite")
    yield Marks(database)
    database.close()


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_mark_is_kept_once_and_the_latest_verdict_counts_in_whichever_order_they_come(marks: Marks) -> None:
    steps: list[Any] = [thumb(at_ms=1), thumb(verdict="down", at_ms=2), None, thumb(verdict="up", at_ms=4)]
    for seed in range(20):
        name, chance = f"m{seed}", random.Random(seed)
        known = steps[: chance.randrange(1, 5)]
        order = [*range(len(known)), *range(len(known))]
        chance.shuffle(order)
        for number in order:
            if known[number] is None:
                marks.take_back(name, 3)
            else:
                marks.keep({**known[number], "id": name})
        kept = marks.known([name])
        if known[-1] is None:
            assert kept == {}
        else:
            assert kept == {name: {"verdict": known[-1]["verdict"], "at_ms": known[-1]["at_ms"]}}
    assert marks.count() == len(marks.list())


def test_what_is_deleted_is_gone_from_the_files(marks: Marks, tmp_path: Path) -> None:
    chance = random.Random(0)
    texts = {f"n{number}": f"SECRET{number:04d}." * chance.choice([1, 3, 20, 100, 700]) for number in range(120)}
    for name, text in texts.items():
        marks.keep(thumb(name, text=text))
        if chance.random() < 0.3:
            texts[name] = f"CHANGED{name}."
            marks.keep(thumb(name, at_ms=2, text=texts[name]))
    gone = chance.sample(list(texts), 15)
    for name in gone:
        marks.take_back(name)
    data = stored(tmp_path)
    for name, text in texts.items():
        assert (text[:11].encode() in data) == (name not in gone)
    assert marks.delete_all() == 105
    assert b"SECRET" not in stored(tmp_path)
    assert b"CHANGED" not in stored(tmp_path)
    assert not marks.keep(thumb("n5"))
    assert marks.count() == 0


def test_a_kill_loses_no_mark_that_was_acknowledged(tmp_path: Path) -> None:
    chance, path, count = random.Random(0), tmp_path / "one.sqlite", 0
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, str(path), str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(chance.random() / 50)
            os.kill(writer.pid, signal.SIGKILL)
            lines = [first, *writer.stdout.read().splitlines(keepends=True)]
        acknowledged = max(int(line) for line in lines if line.endswith("\n"))
        database = Database(path)
        count = Marks(database).count()
        database.close()
        assert count > acknowledged


def test_lists_and_counts_are_by_model_and_kind(marks: Marks) -> None:
    for number in range(7):
        marks.keep(thumb(f"t{number}", "down" if number % 3 else "up", at_ms=number))
    marks.keep(edit("a", "b", name="e"))
    marks.keep(choice("first", "a", "b", name="c"))
    assert [mark["id"] for mark in marks.list(kind="thumb", limit=2, offset=1)] == ["t5", "t4"]
    assert [mark["id"] for mark in marks.list("base")] == ["c"]
    assert marks.count("chat", "thumb") == 7
    assert marks.count("other") == 0
    assert {(row["model"], row["kind"], row["verdict"]): row["count"] for row in marks.counts()} == {
        ("base", "choice", "first"): 1,
        ("chat", "choice", "first"): 1,
        ("chat", "edit", "edited"): 1,
        ("chat", "thumb", "up"): 3,
        ("chat", "thumb", "down"): 4,
    }


def test_each_objective_learns_from_its_kinds() -> None:
    known = [
        thumb("1", "up", text="good"),
        thumb("2", "down", text="bad"),
        edit("before", "after"),
        choice("first", "x", "y"),
        choice("second", "x", "y"),
        choice("equal", "x", "y"),
        choice("neither", "x", "y"),
    ]
    told = [{"role": "assistant", "content": "after"}]
    assert list(examples(known, "sft")) == [{"messages": PROMPT + told}]
    assert [record["messages"][-1]["content"] for record in examples(known, "sft", with_thumbs=True)] == [
        "good",
        "after",
    ]
    pairs = [(record["chosen"], record["rejected"]) for record in examples(known, "dpo")]
    assert pairs == [("after", "before"), ("x", "y"), ("y", "x")]
    assert [(record["completion"], record["label"]) for record in examples(known, "kto")] == [
        ("good", True),
        ("bad", False),
    ]


WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["", " \n", "Human: hi\n\nAssistant: ho", "\n\nHuman: a", "<think>x</think>y", "<think>x</think>"]),
)
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS), min_size=1, max_size=3)


@settings(max_examples=60)
@given(TURNS, st.booleans(), WORDS, WORDS, st.sampled_from(["up", "down", "first", "second", "edited"]))
def test_training_reads_back_what_was_marked(
    turns: list[tuple[str, str]], has_system: bool, one: str, other: str, verdict: str
) -> None:
    prompt = [{"role": "system", "content": "S"}] * has_system + [{"role": r, "content": c} for r, c in turns]
    kind = {"up": "thumb", "down": "thumb", "edited": "edit"}.get(verdict, "choice")
    answers = [answer(one), answer(other)][: 2 if kind == "choice" else 1]
    mark = {"kind": kind, "verdict": verdict, "prompt": prompt, "answers": answers, "edited": other}
    (read,) = [SHAPES["sft"].example({"messages": [*prompt, {"role": "assistant", "content": "x"}]}, "")]
    before = read.messages[:-1]  # type: ignore[attr-defined]
    for record in examples([mark], "dpo"):
        found: Any = SHAPES["dpo"].example(json.loads(json.dumps(record)), "")
        wanted = {"first": (one, other), "second": (other, one), "edited": (other, one)}[verdict]
        assert (found.messages, found.chosen, found.rejected) == (before, *wanted)
    for record in examples([mark], "kto"):
        found = SHAPES["kto"].example(json.loads(json.dumps(record)), "")
        assert (found.messages, found.completion, found.is_desirable) == (before, one, verdict == "up")
    for record in examples([mark], "sft", with_thumbs=True):
        found = SHAPES["sft"].example(json.loads(json.dumps(record)), "")
        text = other if kind == "edit" else one
        assert found.messages[:-1] == before
        if "<think>" not in text:
            assert found.messages[-1] == {"role": "assistant", "content": text}
    # Only what teaches nothing gives no record.
    if one.strip() and other.strip() and one != other and "<think>" not in one + other:
        assert sum(len(list(examples([mark], name, with_thumbs=True))) for name in SHAPES) >= 1


@pytest.fixture(scope="module")
def with_chat(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A studio that has a model."""
    folder = tmp_path_factory.mktemp("marked")
    shutil.copytree(runs / "chat", folder / "runs" / "chat")
    with opened(folder) as found:
        yield found


def test_the_address_keeps_shows_exports_and_deletes(with_chat: Opened, tmp_path: Path) -> None:
    (card,) = with_chat.ask("GET", "/v1/models").json["data"]
    made = card["gptsmith"]["made"]
    sent = {**edit("A nail.", "The smith forges a nail."), "answers": [answer("A nail.", made=made)]}
    for _ in range(2):
        assert with_chat.post("marks", **sent) == {"is_latest": True}
    with_chat.post("marks", **choice("second", "x", "y", id="c", at_ms=2))
    listed = with_chat.get("marks?kind=edit")
    digest = open_model(with_chat.folder / "runs" / "chat").fingerprint
    kept = {"model": "chat", "text": "A nail.", "sampling": {"temperature": 0.5}, "weights": digest}
    expected = {name: value for name, value in sent.items() if name != "answers"}
    assert listed == {"marks": [{**expected, "answers": [kept]}], "total": 1}
    (chosen,) = with_chat.get("marks?kind=choice")["marks"]
    assert [one["weights"] for one in chosen["answers"]] == [digest, None]
    assert with_chat.post("marks/known", ids=["a", "b"]) == {"marks": {"a": {"verdict": "edited", "at_ms": 1}}}
    assert with_chat.get("marks/counts")["examples"] == {"sft": 1, "dpo": 2, "kto": 0, "continuation": 0}
    path = "/studio/api/marks/export?objective=dpo&model="
    ticket = with_chat.ask("POST", "/studio/api/tickets", {"path": path}).json["ticket"]
    answered = with_chat.ask("GET", f"{path}&ticket={ticket}", token="")
    assert 'filename="marks-dpo.jsonl"' in answered.headers["content-disposition"]
    (tmp_path / "marks-dpo.jsonl").write_bytes(answered.data)
    assert len(discover([tmp_path / "marks-dpo.jsonl"]).candidates) == 1
    assert len(answered.data.splitlines()) == 2
    assert with_chat.ask("GET", f"{path}&ticket={ticket}", token="").status == 401
    assert with_chat.ask("DELETE", "/studio/api/marks/a?at_ms=0").json == {"is_latest": False}
    assert with_chat.ask("DELETE", "/studio/api/marks/a").json == {"is_latest": True}
    assert with_chat.ask("DELETE", "/studio/api/marks").json == {"num_deleted": 1}
    assert b"forges a nail" not in stored(with_chat.folder / ".studio")


SOURCES = [{"file": "forge.md", "headings": ["Prices"], "text": "A nail costs a shilling."}]


def test_an_answer_from_documents_keeps_its_passages_and_is_learnt_from_with_them(with_chat: Opened) -> None:
    with_chat.post("marks", **thumb("with", answers=[answer("A shilling.", sources=SOURCES)]))
    with_chat.post("marks", **choice("second", "x", "y", id="one"))
    (kept,) = with_chat.get("marks?kind=thumb")["marks"]
    assert kept["answers"][0]["sources"] == SOURCES
    assert kept["prompt"] == PROMPT
    (record,) = examples([kept], "kto")
    system, turn = record["prompt"]
    assert system == PROMPT[0]
    assert "> [1] forge.md > Prices\n> A nail costs a shilling." in turn["content"]
    assert question_of(turn["content"]) == PROMPT[1]["content"]
    (choice_kept,) = with_chat.get("marks?kind=choice")["marks"]
    assert all("sources" not in one for one in choice_kept["answers"])
    # Of two answers, the prompt is that of the chosen one.
    choice_kept["answers"][1] |= {"sources": SOURCES, "markers": []}
    (record,) = examples([choice_kept], "dpo")
    assert "shilling" in record["prompt"][1]["content"]
    assert digest(record["prompt"]) == digest(PROMPT), "it is one prompt, with passages or without"
    with_chat.ask("DELETE", "/studio/api/marks")
    refused = with_chat.ask(
        "POST",
        "/studio/api/marks",
        thumb("x", prompt=[*PROMPT, {"role": "assistant", "content": "?"}], answers=[answer("x", sources=SOURCES)]),
    )
    assert "sources belong to a question" in refused.error["message"]


def test_weights_that_were_saved_anew_are_not_those_of_the_answer(with_chat: Opened) -> None:
    with_chat.post("marks", **thumb("w", answers=[answer("x", made="2020-01-01T00:00:00Z")]))
    (mark,) = with_chat.get("marks")["marks"]
    assert mark["answers"][0]["weights"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "first"}, "up or down"),
        ({"kind": "choice", "verdict": "first"}, "2 answers"),
        ({"kind": "edit", "verdict": "edited"}, "edited"),
        ({"kind": "edit", "verdict": "edited", "edited": " "}, "empty"),
        ({"prompt": []}, "at least 1"),
        ({"prompt": [{"role": "text", "content": "x"}]}, "turn 1 needs a role"),
        ({"kind": "continuation", "verdict": "first", "answers": [answer("x"), answer("y")]}, "one text"),
        ({"prompt": [*PROMPT, PROMPT[0]]}, "turn 3 is the system's"),
        ({"id": "../a"}, "id"),
        ({"at_ms": -1}, "at_ms"),
    ],
)
def test_a_mark_that_is_not_whole_is_refused(studio: Opened, change: dict[str, Any], words: str) -> None:
    refused = studio.ask("POST", "/studio/api/marks", {**thumb(), **change})
    assert refused.status == 400
    assert words in refused.error["message"]
    assert studio.get("marks")["total"] == 0


def test_a_change_that_cannot_be_written_may_be_tried_again(studio: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise UserError("studio.sqlite cannot be written: database or disk is full")

    marks = studio.server.studio.marks
    monkeypatch.setattr(marks, "keep", full)
    monkeypatch.setattr(marks, "take_back", full)
    for answered in (
        studio.ask("POST", "/studio/api/marks", thumb()),
        studio.ask("DELETE", "/studio/api/marks/a"),
    ):
        assert answered.status == 507
        assert "disk is full" in answered.error["message"]


def test_addresses_refuse_what_they_do_not_know(studio: Opened) -> None:
    for path in ("marks?limit=x", "marks?offset=-1", "marks/export?objective=sft"):
        assert studio.ask("GET", f"/studio/api/{path}").status in (400, 401)
    path = "/studio/api/marks/export?objective=all"
    ticket = studio.ask("POST", "/studio/api/tickets", {"path": path}).json["ticket"]
    assert studio.ask("GET", f"{path}&ticket={ticket}").status == 400
