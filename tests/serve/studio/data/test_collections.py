"""Collections: made, renamed and deleted whole, and never outside of what a studio may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.serve.studio.data.collections import Collections
from gptsmith.serve.studio.data.recipes import Recipes
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.place import Place

from ..conftest import Opened


def test_a_collection_is_made_renamed_and_deleted(studio: Opened) -> None:
    made = studio.post("data/make", name="  letters   <b>😀</b> ")
    assert made["name"] == "letters <b>😀</b>"
    assert (made["num_files"], made["kind"]) == (0, None)
    assert studio.ask("POST", "/studio/api/data/make", {"name": made["name"]}).status == 400
    home = studio.server.studio.data.collections.get(made["name"]).home
    assert home.stat().st_mode & 0o77 == 0
    studio.post("data/rename", name=made["name"], new_name="post")
    (home / "files" / "a.txt").write_text("Dear Anna")
    (found,) = studio.get("data")["collections"]
    assert (found["name"], found["num_files"], found["num_bytes"], found["kind"]) == ("post", 1, 9, "text")
    assert found["num_documents"] is None
    (home / "files" / "b.jsonl").write_text('{"prompt": "Hot?", "response": "Very, my friend."}')
    assert studio.get("data")["collections"][0]["kind"] == "chat"
    (home / "files" / "a.txt").write_text("Dear Anna. " * 9)
    assert studio.get("data")["collections"][0]["kind"] == "text", "most of it is no records"
    (home / "files" / "b.jsonl").unlink()
    studio.server.studio.data.readings.read(studio.server.studio.data.collections.get("post"))
    assert studio.get("data")["collections"][0]["num_documents"] == 1
    studio.post("data/files/delete", name="post", paths=["../../x", "missing"])
    assert studio.get("data/files?name=post")["num_items"] == 1
    assert studio.server.studio.data.arguments("post") == [str(home / "files")]
    studio.post("data/files/delete", name="post", paths=["a.txt"])
    assert studio.get("data/files?name=post")["num_items"] == 0
    studio.post("data/delete", name="post")
    assert studio.get("data")["collections"] == []
    assert not home.exists()
    assert studio.ask("POST", "/studio/api/data/delete", {"name": "post"}).status == 404


def test_a_path_is_used_where_it_may_be(studio: Opened, tmp_path: Path) -> None:
    texts = studio.folder / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("abc")
    made = studio.post("data/make", name="mine", path="texts")
    assert (made["path"], made["num_files"]) == (str(texts), 1)
    for path in (str(tmp_path), "../..", "missing", ".studio", "", "a\0b"):
        answer = studio.ask("POST", "/studio/api/data/make", {"name": "other", "path": path})
        assert answer.status == 400, path
    files = [{"path": "b.txt", "num_bytes": 1, "modified_ms": 0}]
    assert (
        studio.ask("POST", "/studio/api/data/uploads", {"name": "mine", "files": files, "num_bytes": 1}).status == 400
    )
    assert studio.ask("POST", "/studio/api/data/files/delete", {"name": "mine", "paths": ["a.txt"]}).status == 400
    studio.post("data/delete", name="mine")
    assert (texts / "a.txt").read_text() == "abc"


@pytest.mark.parametrize("path", ["data/files?name=x", "data/files", "data/files?name=..%2f.."])
def test_there_is_nothing_of_a_name_that_is_not_known(studio: Opened, path: str) -> None:
    assert studio.ask("GET", f"/studio/api/{path}").status == 404


def test_files_of_a_database_that_was_lost_are_collections_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    database = Database(place.database)
    kept = Collections(place, database).make("kept")
    (kept.sources / "a.txt").write_text("abc")
    (place.data / "being made").mkdir()
    Collections(place, database)
    assert [path.name for path in place.data.iterdir()] == [kept.home.name]
    database.close()
    place.database.unlink()
    again = Collections(place, Database(place.database))
    assert [(each.name, each.sources) for each in again] == [("kept", kept.sources)]
    assert (kept.sources / "a.txt").read_text() == "abc"
    again.delete("kept")
    assert list(place.data.iterdir()) == []


def test_a_collection_that_was_deleted_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    database = Database(place.database)
    collections = Collections(place, database)
    made = collections.make("letters")
    (made.sources / "a.txt").write_text("abc")
    Recipes(database).add(made, "edit", {"document": "0", "text": "a secret", "record": None})
    with monkeypatch.context() as patched:
        patched.setattr(Database, "scrub", lambda _: None)
        patched.setattr("gptsmith.serve.studio.data.collections.remove", lambda _: None)  # the studio is killed
        collections.delete("letters")
    assert list(Collections(place, database)) == []
    assert list(place.data.iterdir()) == []
    collections.make("other")
    collections.delete("other")
    assert not any(b"a secret" in path.read_bytes() for path in place.own.glob("studio.sqlite*"))
