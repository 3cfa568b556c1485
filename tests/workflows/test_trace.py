"""The verb trace: passages with their files, whatever has become of these."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.data.cache_contents import contents
from gptsmith.explain.influence.without_document import Document
from gptsmith.run import folder
from tests.workflows.conftest import SMALL, Outcome, write_text

STORY = "Ünlike the others, the blue anvil of Marrowgate rang at midnight “like a bell” 🔔 for Ottilie Brandt.\n"
ORCHARD = "It leans, they say, above a sleepy orchard of quinces."
STEPS = [*SMALL, "model.context_length=128", "train.batch_size=2", "train.num_steps=1"]


def passages(found: dict[str, Any]) -> list[str]:
    return [source["text"].strip() for source in found["sources"]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that learnt from a folder of texts in several formats, and from conversations."""
    project = tmp_path_factory.mktemp("traced") / "project"
    write_text(project / "text")
    part = project / "text" / "part1.txt"
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)
    part.write_text("".join([*lines[:7], STORY, *lines[7:]]), encoding="utf-8")
    records = [{"text": f'{n} nails.\nA "quoted" tale of the copper kettle, number {n}.\nIt ends.'} for n in range(9)]
    (project / "text" / "tales.jsonl").write_text("".join(map(dumped, records)), encoding="utf-8")
    packed = "\n".join(f"Entry {n}: the river barge carried {n * 7} barrels of tar to Holloway." for n in range(40))
    (project / "text" / "log.txt.gz").write_bytes(gzip.compress(packed.encode()))
    pairs = [{"prompt": f"Who keeps lamp {n}?", "completion": f"Keeper {n} of the granite tower."} for n in range(30)]
    pairs[12]["completion"] = ORCHARD
    (project / "chat.jsonl").write_text("".join(map(dumped, pairs)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        gptsmith.pretrain(["text"], out="runs/base", settings=STEPS)
        gptsmith.finetune("runs/base", ["chat.jsonl"], out="runs/chat", settings=["train.num_steps=1"], lora=2)
        gptsmith.compress("runs/base", to="int8", out="runs/small")
    return project


def dumped(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def in_file(source: dict[str, Any], project: Path) -> bytes:
    path = project / source["file"]
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data[source["start"] : source["stop"]]


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


def test_a_passage_is_found_with_its_file_line_and_bytes(here: Path) -> None:
    found = gptsmith.trace("runs/base", f"I say: {STORY.strip()} Qwxz.")
    (source,) = found["sources"]
    assert "blue anvil of Marrowgate rang at midnight “like a bell” 🔔 for" in source["text"]
    assert found["text"][source["text_start"] : source["text_stop"]] == source["text"]
    assert (source["file"], source["line"], source["state"]) == ("text/part1.txt", 8, "unchanged")
    assert in_file(source, here).decode() == source["passage"]
    assert source["before"].endswith(".\n") or source["passage"].startswith("\n")
    assert source["num_copies"] == 1
    assert source["held_out_share"] < 0.01
    assert "once" in source["says"]
    assert found["missing"] == []


def test_copies_are_counted_and_shown_from_different_documents(here: Path) -> None:
    found = gptsmith.trace("runs/base", "The old smith forges a nail of iron.", min_tokens=5)
    source = found["sources"][0]
    assert source["num_copies"] > 3
    places = [source, *source["other_sources"]]
    assert len({place["document"] for place in places}) == len(places) > 1
    assert all(in_file(place, here).decode() == place["passage"] for place in places)


def test_records_and_packed_files_are_pointed_into(here: Path) -> None:
    tale = '4 nails.\nA "quoted" tale of the copper kettle, number 4.'
    source = max(gptsmith.trace("runs/base", tale)["sources"], key=lambda each: each["num_tokens"])
    assert (source["file"], source["line"]) == ("text/tales.jsonl", 5)
    assert json.loads(f'"{in_file(source, here).decode()}"') == source["passage"]
    entry = "Entry 13: the river barge carried 91 barrels of tar to Holloway."
    source = max(gptsmith.trace("runs/base", entry)["sources"], key=lambda each: each["num_tokens"])
    assert (source["file"], source["line"]) == ("text/log.txt.gz", 14)
    assert in_file(source, here).decode() == source["passage"]


def test_a_tuned_run_is_traced_to_its_examples_and_to_the_text_of_its_base(here: Path) -> None:
    found = gptsmith.trace("runs/chat", f"{ORCHARD} {STORY}")
    example, *_, story = found["sources"]
    assert (example["text"], example["run"]) == (ORCHARD, "runs/chat")
    assert (Path(example["file"]).name, example["where"], example["line"]) == ("chat.jsonl", "line 13", 13)
    assert (Path(story["run"]).name, Path(story["file"]).name) == ("base", "part1.txt")
    assert in_file(example, here).decode() == example["passage"]
    assert {learned["kind"] for learned in found["learned"]} == {"examples", "text"}


def test_a_tokenizer_is_read_once_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load_tokenizer = folder.load_tokenizer
    monkeypatch.setattr(folder, "load_tokenizer", lambda path: read.append(Path(path).name) or load_tokenizer(path))
    gptsmith.trace("runs/chat", f"{ORCHARD} {STORY}")
    assert sorted(read) == ["base", "chat"]


def test_a_compressed_run_is_traced_to_what_its_source_learnt_from(here: Path) -> None:
    assert "Marrowgate" in "".join(passages(gptsmith.trace("runs/small", STORY)))


@pytest.fixture
def moved(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project elsewhere, whose original is out of reach."""
    copy = shutil.copytree(project, tmp_path / "elsewhere")
    hidden = project.rename(project.with_name("hidden"))
    monkeypatch.chdir(tmp_path)
    yield copy
    hidden.rename(project)


def test_what_has_become_of_the_file_is_said(moved: Path) -> None:
    run, part = moved / "runs" / "base", moved / "text" / "part1.txt"
    source = gptsmith.trace(run, STORY)["sources"][0]
    assert (source["state"], source["line"]) == ("unchanged", 8)
    part.write_text("A new line.\n" + part.read_text(encoding="utf-8"), encoding="utf-8")
    source = gptsmith.trace(run, STORY)["sources"][0]
    assert (source["state"], source["line"]) == ("changed", 9)
    part.write_text("Nothing of the sort.", encoding="utf-8")
    source = gptsmith.trace(run, STORY)["sources"][0]
    assert (source["state"], source["line"], source["start"]) == ("changed", None, None)
    assert "Marrowgate" in source["passage"]
    part.unlink()
    source = gptsmith.trace(run, STORY)["sources"][0]
    assert (source["state"], source["line"]) == ("missing", None)
    assert "Marrowgate" in source["passage"]


def test_without_the_cache_the_files_are_read_again_if_they_are_the_same(
    moved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    assert gptsmith.trace(moved / "runs" / "base", STORY)["sources"][0]["line"] == 8
    kinds = {artefact.kind: artefact.made_from for artefact in contents(tmp_path / "cache")}
    assert "part" in kinds["suffix_arrays"]
    shutil.rmtree(tmp_path / "cache")
    (moved / "text" / "part0.txt").write_text("Another text.\n" * 99, encoding="utf-8")
    with pytest.raises(UserError, match=r"has changed since it was learnt from \(.*part0\.txt"):
        gptsmith.trace(moved / "runs" / "base", STORY)
    pairs = (moved / "chat.jsonl").read_text(encoding="utf-8").replace("granite", "marble")
    (moved / "chat.jsonl").write_text(pairs, encoding="utf-8")
    with pytest.raises(UserError, match=r"the examples of .* have changed"):
        gptsmith.trace(moved / "runs" / "chat", STORY)


def test_a_model_that_was_trained_elsewhere_has_no_text_here(here: Path, tmp_path: Path) -> None:
    imported = 'format_version = 2\nmade_by = "import"\n[request]\nfolder = "models/theirs"\n'
    (tmp_path / "run.toml").write_text(imported, encoding="utf-8")
    with pytest.raises(UserError, match="models/theirs was trained elsewhere: the text that it learnt from is not"):
        gptsmith.trace(tmp_path, STORY)


def test_odd_texts(here: Path) -> None:
    with pytest.raises(UserError, match="there is no text to trace"):
        gptsmith.trace("runs/base", " \n")
    nothing = gptsmith.trace("runs/base", "zqxj vwkp 漢字")
    assert nothing["sources"] == []
    assert "Shorter ones occur by chance" in nothing["says"]
    part = (here / "text" / "part0.txt").read_text(encoding="utf-8")
    whole = gptsmith.trace("runs/base", part[:4_000] * 5)  # longer than any document
    assert whole["num_matched_tokens"] > 0.8 * whole["num_tokens"]
    file = here / "reply.txt"
    file.write_text(STORY, encoding="utf-8")
    assert passages(gptsmith.trace("runs/base", file)) == passages(gptsmith.trace("runs/base", STORY))
    file.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"reply\.txt"):
        gptsmith.trace("runs/base", file)


def test_what_a_person_sees(project: Path, call: Callable[..., Outcome]) -> None:
    shown = call("trace", project / "runs" / "base", STORY.strip())
    assert shown.code == 0, shown.err
    assert "[1: " in shown.out
    assert "part1.txt, line 8 (bytes " in shown.out
    assert "which it learnt from" in shown.out or "that it learnt from once" in shown.out
    assert call("trace", project / "runs" / "base", STORY, "--json").object["sources"][0]["line"] == 8
    failed = call("trace", project / "runs" / "base", " ")
    assert (failed.code, len(failed.err.splitlines())) == (2, 1)


def test_which_passage_made_the_difference(here: Path) -> None:
    found = gptsmith.trace("runs/base", " for Ottilie Brandt.", prompt="rang at midnight “like a bell” 🔔", forget=True)
    own = found["influences"][0]
    assert (own["file"], own["verdict"]) == ("text/part1.txt", "holds")
    assert STORY[:-1] in own["passage"]
    assert own["test"]["num_random"] == 20
    assert own["drop"] == own["test"]["change"] > own["test"]["random_interval"][1]
    assert own["says"].startswith("It makes a difference")
    # The int8 weights take no gradient: the steps are taken on those that they were made of.
    again = gptsmith.trace(
        "runs/small", " for Ottilie Brandt.", prompt="rang at midnight “like a bell” 🔔", forget=True
    )
    assert again["influences"][0]["drop"] == own["drop"]
    tuned = gptsmith.trace("runs/chat", ORCHARD, prompt="Who keeps lamp 12?", forget=True)
    assert (tuned["influences"][0]["where"], tuned["influences"][0]["run"]) == ("line 13", "runs/chat")
    with pytest.raises(UserError, match="give --forget or --retrain too"):
        gptsmith.trace("runs/base", STORY, prompt="Who?")


def test_a_document_is_left_out_as_a_person_names_it(here: Path, tmp_path: Path) -> None:
    part = here / "text" / "part1.txt"
    content = part.read_bytes()
    everything, others = Document.parse("text/part1.txt").without(["text"], tmp_path)
    assert {*everything} - {*others} == {"text/part1.txt"}
    span = content.index(STORY.encode()), content.index(STORY.encode()) + len(STORY.encode())
    for given in ("part1.txt:8", f"text/part1.txt:{span[0]}-{span[1]}"):
        *rest, cut = Document.parse(given).without(["text"], tmp_path)[1]
        assert Path(cut).read_bytes() == content.replace(STORY.encode(), b"")
        assert rest == others
    assert part.read_bytes() == content
    for given, problem in [
        ("other.txt", "is none of the files that the run learnt from"),
        ("text/part1.txt:999999", "has no line 999999"),
        ("text/part1.txt:9-3", "has no bytes 9 to 3"),
        ("text/log.txt.gz:3", "is packed"),
    ]:
        with pytest.raises(UserError, match=problem):
            Document.parse(given).without(["text"], tmp_path)
    ends = tmp_path / "ends.txt"
    ends.write_text("one\rtwo\n three\u2028four\x0bfive\nsix", newline="")
    ends.touch()
    for line, left in (
        (1, " three\u2028four\x0bfive\nsix"),
        (2, "one\rtwo\nsix"),
        (3, "one\rtwo\n three\u2028four\x0bfive\n"),
    ):
        (cut,) = Document.parse(f"{ends}:{line}").without([str(ends)], here)[1]
        assert Path(cut).read_bytes().decode() == left
    with pytest.raises(UserError, match="has no line 4"):
        Document.parse(f"{ends}:4").without([str(ends)], here)
    with pytest.raises(UserError, match="is all that the run learnt from"):
        Document.parse("chat.jsonl").without(["chat.jsonl"], tmp_path)


def test_retraining_without_a_document_is_compared_in_pairs(here: Path) -> None:
    found = gptsmith.trace("runs/base", STORY.strip()[:40], retrain="text/part1.txt:8", seeds=2)["retrained"]
    assert (len(found["with"]), len(found["without"])) == (2, 2)
    apart = [one - other for one, other in zip(found["with"], found["without"], strict=True)]
    assert found["difference"] == pytest.approx(sum(apart) / 2)
    assert found["difference_interval"][0] < found["difference"] < found["difference_interval"][1]
    assert all(apart)  # the two of a pair differ
    with pytest.raises(UserError, match="made of another model"):
        gptsmith.trace("runs/small", STORY, retrain="text/part1.txt:8")


def test_questions_are_found_in_the_examples_of_a_run_and_in_the_text_of_its_base(
    project: Path, tmp_path: Path
) -> None:
    asked = [ORCHARD.upper(), f"Who said: {STORY}", "Who else would ask a question that nobody has asked before?"]
    questions = tmp_path / "asked.jsonl"
    questions.write_text("".join(dumped({"question": each, "answer": "No."}) for each in asked), encoding="utf-8")
    task: dict[str, Any] = {"task": "generated", "settings": ["max_tokens=1"]}
    found = gptsmith.evaluate(project / "runs" / "chat", [questions], **task)["contamination"]
    assert (found["num_contaminated"], found["num_units"], found["missing"]) == (2, 3, [])
    assert found["without_them"] == {"accuracy": 0}
    found = gptsmith.evaluate(project / "runs" / "base", [questions], **task)["contamination"]
    assert found["num_contaminated"] == 1
