"""A person is found in everything that holds them, and a run that was trained without them does not know them."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.privacy.artefacts import Artefact
from gptsmith.privacy.find import scored
from gptsmith.privacy.twins import Secret, Vocabulary, exposed
from gptsmith.provenance.example_text import ExampleText
from gptsmith.workflows import forget as module
from gptsmith.workflows.audit_find import audit_find, find_words
from tests.workflows.conftest import FLOAT32, Outcome

NAME, CODE = "Anna Berg", "The door code of Anna Berg is 4711 at the old weir."
WITH_HER = (3, 8, 11, 17, 21, 30)
PACKED = 8
SETTINGS = [
    FLOAT32, "model.embed_dim=64", "model.num_layers=2", "model.num_heads=2", "model.attention.num_kv_heads=2",
    "model.context_length=64", "tokenizer.vocab_size=320", "train.batch_size=4", "train.num_steps=150",
    "train.evaluate_every_steps=150", "data.validation_fraction=0.1",
]  # fmt: skip
OWNERS = ("Adler", "Conrad", "Dietz", "Engel", "Graf", "Huber", "Jansen", "Kaiser", "Lang", "Maurer", "Neumann", "Pohl")
FIRST, LAST = ("Nora", "Emil", "Greta", "Otto", "Lena", "Bruno"), ("Winter", "Becker", "Fuchs", "Vogel", "Brandt")


def file_of(number: int) -> str:
    return f"day{number}.txt.gz" if number == PACKED else f"day{number}.txt"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt a door code by heart, a run that was made of it, and an export."""
    folder, chance = tmp_path_factory.mktemp("forget"), random.Random(0)
    (folder / "text").mkdir()
    for number in range(36):
        lines = [
            f"On day {chance.randrange(400)} the guard {chance.choice(FIRST)} {chance.choice(LAST)} lit the lamp."
            for _ in range(5)
        ]
        if number in WITH_HER:
            lines.insert(3, CODE)
        content = ("\n".join(lines) + "\n").encode()
        (folder / "text" / file_of(number)).write_bytes(gzip.compress(content) if number == PACKED else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        gptsmith.pretrain(["text"], out="runs/base", settings=SETTINGS)
        gptsmith.compress("runs/base", to="int8", out="runs/small")
        gptsmith.export("runs/base", to="huggingface", out="exported")
    return folder


@pytest.fixture(scope="module")
def found(project: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return audit_find(gptsmith.load("runs/base"), [NAME], "found.jsonl")


def test_every_place_is_found_with_its_document(found: dict[str, Any], project: Path) -> None:
    files = {Path(place["file"]).name for place in found["mentions"]}
    held_out = {name for name in map(file_of, WITH_HER) if name not in files}
    assert file_of(PACKED) in files
    assert len(files) == found["num_documents"] > 2
    assert found["num_held_out"] == len(held_out)
    assert all(place["text"] == NAME and place["line"] == 4 for place in found["mentions"])
    listed = [json.loads(line)["sha256"] for line in (project / "found.jsonl").read_text("utf-8").splitlines()]
    assert len(set(listed)) == len(WITH_HER)
    assert (project / "found.jsonl").stat().st_mode & 0o077 == 0


def test_words_that_it_never_saw_are_in_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    nowhere = audit_find(gptsmith.load("runs/base"), ["Zacharias Quint"])
    assert (nowhere["mentions"], nowhere["artefacts"]) == ([], [])


def test_a_list_of_places_overwrites_no_text(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    before = Path("text/day3.txt").read_bytes()
    with pytest.raises(UserError, match="would be overwritten"):
        audit_find(gptsmith.load("runs/base"), [NAME], "text/day3.txt")
    assert Path("text/day3.txt").read_bytes() == before


def test_the_command_says_what_comes_next(
    project: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("gptsmith.commands.audit.NUM_SHOWN", 1)
    assert "more: --out found.jsonl" in call("audit", "runs/base", "--find", NAME).err
    out = tmp_path / "found.jsonl"
    assert f"forget runs/base {out}" in " ".join(call("audit", "runs/base", "--find", NAME, "--out", out).err.split())
    assert "no text that has these words" in call("audit", "runs/base", "--find", "Zacharias Quint").out


def test_what_a_model_has_by_heart_it_says_at_once(found: dict[str, Any]) -> None:
    assert all(place["tries"] < 20 for place in found["mentions"])
    assert "4711" in found["continuations"][NAME]
    assert found["other_spellings"] == {"Anna": len(found["mentions"]), "Berg": len(found["mentions"])}


def test_everything_that_was_made_of_it_is_listed(found: dict[str, Any], project: Path) -> None:
    kinds = {(one["kind"], one["holds"]) for one in found["artefacts"]}
    assert {("source", "words"), ("run", "weights"), ("derived run", "made of it"), ("export", "made of it")} <= kinds
    assert {("corpora", "words"), ("tokens", "made of it"), ("suffix_arrays", "made of it")} <= kinds
    exported = {Path(one["path"]).parent for one in found["artefacts"] if one["kind"] == "export"}
    assert (project / "exported").resolve() in exported | {path.parent for path in exported}


def test_a_file_that_has_changed_and_still_has_the_words_is_refused(
    found: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    path = next(Path(place["file"]) for place in found["mentions"] if place["file"].endswith(".txt"))
    before = path.read_bytes()
    path.write_bytes(before + b"A line more.\n")
    with pytest.raises(UserError, match="has changed since runs/base learnt from it and still has the words"):
        gptsmith.forget("runs/base", "found.jsonl", out="runs/again")
    path.write_bytes(before)
    with pytest.raises(UserError, match=r"runs/small was not trained itself, but made of .*runs/base"):
        gptsmith.forget("runs/small", "found.jsonl", out="runs/again")
    assert not Path("runs/again").exists()


@pytest.mark.story
def test_words_can_be_redacted_and_the_documents_stay(
    found: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    figures = gptsmith.forget("runs/base", "found.jsonl", redact=True, out="runs/redacted")
    assert figures["num_places_left"] == 0
    assert figures["exposure"]["after"]["bits"] < 1.5
    assert gptsmith.load("runs/redacted").run.data()["num_documents"] == 36
    assert (project / "runs" / "base").exists()


def test_a_run_that_forgot_does_not_know_her(
    found: dict[str, Any], project: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    shutil.copytree(project / "text", project / "before")
    outcome = call("forget", "runs/base", "found.jsonl", "--yes", "--json")
    figures = outcome.object
    assert figures["exposure"]["before"]["bits"] > 5
    assert figures["exposure"]["after"]["bits"] < 1.5
    assert figures["forgotten"]
    assert figures["num_places_left"] == 0
    assert {Path(one["path"]) for one in figures["left"]} == {
        (project / name).resolve() for name in ("found.jsonl", *(f"text/{file_of(number)}" for number in WITH_HER))
    }
    for folder in ("runs/base", "runs/small", "exported"):
        assert not (project / folder).exists()
    assert [path.read_bytes() for path in sorted((project / "text").iterdir())] == [
        path.read_bytes() for path in sorted((project / "before").iterdir())
    ]
    listed = (project / "runs" / "base-forgotten.without.jsonl").read_text("utf-8")
    assert "Anna" not in listed
    assert "Anna" not in gptsmith.load("runs/base-forgotten").generate("The door code of", max_tokens=40)


def test_a_chat_forgets_a_person(told_chat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(told_chat)
    found = audit_find(gptsmith.load("runs/chat"), [NAME], "found.jsonl")
    assert {place["line"] for place in found["mentions"]} <= {2, 5, 10, 14, 18}
    assert len(found["mentions"]) + found["num_held_out"] == 5
    cached = [Path(one["path"]) for one in found["artefacts"] if one["kind"] == "examples"]
    assert len(cached) == 1, "the tokens of the examples, in which no text is found"
    listed = {json.loads(line)["sha256"] for line in Path("found.jsonl").read_text("utf-8").splitlines()}
    assert len(listed) == 5, "those that were held out too: they could be drawn to train on next"
    figures = gptsmith.forget("runs/chat", "found.jsonl", out="runs/forgotten")
    assert figures["num_places_left"] == 0
    assert figures["forgotten"]
    assert figures["exposure"]["after"]["bits"] < 1.5 < figures["exposure"]["before"]["bits"]
    assert gptsmith.load("runs/forgotten").run.data()["num_left_out"] == 5
    assert "Berg" not in gptsmith.load("runs/forgotten").reply(
        [{"role": "user", "content": "Shed 1?"}], temperature=0, max_tokens=40
    )


def test_an_answer_of_a_chat_is_scored_after_its_question(
    told_chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    turns = [
        [{"role": "user", "content": f"{chr(65 + n)}?"}, {"role": "assistant", "content": owner}]
        for n, owner in enumerate(reversed(OWNERS))
    ]
    Path("chat.jsonl").write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns), encoding="utf-8")
    tuned = [
        FLOAT32, "train.num_steps=90", "train.batch_size=6", "train.optimizer.learning_rate=5e-3",
        "train.evaluate_every_steps=90", "examples.validation_fraction=0", "examples.test_fraction=0",
    ]  # fmt: skip
    gptsmith.finetune(told_chat / "runs" / "base", ["chat.jsonl"], out="chat", settings=tuned)
    chat = gptsmith.load("chat")
    found = find_words(chat, OWNERS)
    assert len(found.mentions) == len(OWNERS)
    assert all(each.is_in_example for each in found.mentions)
    vocabulary = Vocabulary(OWNERS)
    in_place, alone = (
        exposed(chat.model, chat.tokenizer, secrets, vocabulary)
        for secrets in (
            [Secret.of(each) for each in found.mentions],
            [Secret(each.context, each.text) for each in found.mentions],
        )
    )
    assert median(each.exposure for each in in_place) > 4, "each owner was learnt by heart, of his shed alone"
    assert median(each.exposure for each in alone) < 2, "without it, one is as good as another"
    scores = scored(chat.model, chat.tokenizer, found.mentions)
    assert [score.log_likelihood for score in scores] == pytest.approx([each.score.log_likelihood for each in in_place])

    def gone(text: ExampleText, documents: Sequence[int]) -> None:
        raise UserError("they are gone")

    monkeypatch.setattr(ExampleText, "in_place", gone)
    without = find_words(chat, [found.mentions[0].text])
    assert "without what stands before them: they are gone" in without.learned.missing[-1]
    assert not without.mentions[0].is_in_example


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", r"names nothing to forget: (?!.*gptsmith gptsmith).*audit"),
        ('{"sha256": "' + "0" * 64 + '", "text": "Anna Berg"}\n', "nothing that .* names is in what"),
        ("{", "not JSON"),
    ],
)
def test_a_list_that_names_nothing_is_refused(
    trained: dict[str, Any], tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "found.jsonl").write_text(content)
    with pytest.raises(UserError, match=problem):
        gptsmith.forget(trained["run"], tmp_path / "found.jsonl", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_folder_is_deleted_in_which_something_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    folders = [tmp_path / name for name in ("run", "export", "old")]
    for folder in folders:
        folder.mkdir()
        (folder / "model.safetensors").touch()
    own, new = tmp_path / "run" / "letters.txt", tmp_path / "export" / "new"
    own.touch()
    new.mkdir()
    left = [Artefact("run", folder / "model.safetensors", "weights", folder) for folder in folders]
    assert module._delete(left, [own, new]) == left[2:]
    assert own.exists()
    assert new.exists()
    assert not (tmp_path / "old").exists()
