"""Files of a collection that jobs and runs need: they are not deleted; others are, and their texts are made anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.run.folder import SETTINGS
from gptsmith.serve.studio.data.made import MADE
from gptsmith.serve.studio.data.state import Data
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place

LONG_AGO = (1.0, 1.0)


class Kept:
    """A studio whose jobs all wait, with a collection of two texts."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        database = Database(self.place.database)
        self.jobs = Jobs(database, self.place)
        self.data = Data(self.place, database, self.jobs)
        self.collection = self.data.collections.make("texts")
        for name in ("a", "b"):
            (self.collection.sources / f"{name}.txt").write_text(f"This is {name}.\n", encoding="utf-8")

    def exclude(self) -> list[str]:
        """The words that read it without its first document, for the first time long ago."""
        reading = self.data.readings.read(self.collection)
        self.data.recipes.add(self.collection, "exclude", {"documents": [min(reading.number_of)]})
        words = self.data.arguments("texts")
        for made in self.made():
            os.utime(made, LONG_AGO)
        return words

    def made(self) -> list[Path]:
        return list((self.collection.home / MADE).glob("*"))

    def another_recipe(self) -> None:
        reading = self.data.readings.read(self.collection)
        self.data.recipes.add(self.collection, "exclude", {"documents": [max(reading.number_of)]})


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_a_training_reads_is_not_deleted_and_is_once_it_has_ended(kept: Kept) -> None:
    training = kept.jobs.add("pretrain", ["--json", "--", *kept.exclude()], title="mine", run="mine")
    with pytest.raises(UserError, match=r"'texts' are needed by a job that waits or runs \(mine\): wait for it"):
        kept.data.delete("texts")
    with pytest.raises(UserError, match="mine"):
        kept.data.delete_files(kept.collection, ["a.txt"])
    assert sorted(path.name for path in kept.collection.sources.iterdir()) == ["a.txt", "b.txt"]
    assert kept.data.collections.rename("texts", "other").home == kept.collection.home, "its files stay where they are"
    kept.jobs.cancel(training)
    kept.data.delete_files(kept.collection, ["a.txt"])
    kept.data.delete("other")
    assert not kept.collection.home.exists()


def test_plans_and_audits_end_with_a_collection_and_others_are_left_alone(kept: Kept) -> None:
    words = kept.data.arguments("texts")
    doomed = [kept.jobs.add(verb, words, title="x", lane="quick") for verb in ("plan", "audit")]
    other = kept.jobs.add("pretrain", ["--", f"{kept.collection.home}-2/files", "texts"], title="other")
    kept.data.delete("texts")
    assert [kept.jobs.get(job)["state"] for job in doomed] == ["stopped", "stopped"]
    assert kept.jobs.get(other)["state"] == "waiting"


def test_edited_texts_are_swept_unless_a_job_or_a_run_needs_them_or_they_are_new(kept: Kept) -> None:
    words = kept.exclude()
    (first,) = kept.made()
    job = kept.jobs.add("pretrain", words, title="mine")
    kept.another_recipe()
    kept.data.arguments("texts")
    assert first.exists(), "a job needs it"
    assert len(kept.made()) == 2
    kept.jobs.cancel(job)
    run = kept.place.runs / "mine"
    run.mkdir()
    (run / SETTINGS).write_text(f'[request]\nwithout = ["{first}/without.jsonl"]\n', encoding="utf-8")
    kept.data.arguments("texts")
    assert first.exists(), "a run needs it"
    assert kept.data.runs_of(kept.collection) == ["mine"]
    (run / SETTINGS).unlink()
    Data(kept.place, Database(kept.place.database), kept.jobs)
    assert not first.exists(), "the next studio sweeps it"
    assert len(kept.made()) == 1, "what was asked for lately stays"


def test_what_was_swept_is_made_anew(kept: Kept) -> None:
    words = kept.exclude()
    kept.another_recipe()
    kept.data.arguments("texts")
    last = kept.data.recipes.changes(kept.collection)[-1]
    kept.data.recipes.undo(kept.collection, last["number"])
    assert kept.data.arguments("texts") == words
    assert Path(words[-1]).exists()
