"""The list of what is cached is complete, and what is in use is never deleted."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.leftovers import TEMPORARY
from gptsmith.data.cache import built_once
from gptsmith.data.cache_contents import contents
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings

pytestmark = pytest.mark.skipif(os.name == "nt", reason="without locks nothing is known to be unused")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def made(write: Callable[..., Path]) -> PreparedData:
    root = write({f"{n}.txt": f"{n} words " * 50 for n in range(5)})
    return prepare([root], settings=DataSettings(), tokenizer=CharactersTokenizerSettings(), seed=1)


@pytest.fixture
def data(cache: Path, write: Callable[..., Path]) -> PreparedData:
    return made(write)


def age(cache: Path, days: float = 1) -> None:
    """Makes everything look as if it had not been used for some days."""
    then = time.time() - days * 86_400
    for path in cache.rglob("*"):
        os.utime(path, (then, then))


def rows(**options: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in gptsmith.cache(**options)["artefacts"]:
        found.setdefault(row["kind"], []).append(row)
    return found


def test_what_was_measured_of_this_machine_is_listed_and_deleted(cache: Path) -> None:
    cache.mkdir()
    for name in ("speed-1.json", "attention-1.json"):
        (cache / name).write_text("{}", encoding="utf-8")
    assert sorted(Path(row["path"]).name for row in rows()["speeds"]) == ["attention-1.json", "speed-1.json"]
    age(cache)
    gptsmith.cache(empty=True, kind="speeds")
    assert list(cache.glob("*.json")) == []


def test_what_is_cached_is_listed_with_what_it_was_made_from(data: PreparedData, cache: Path) -> None:
    listed = rows()
    assert set(listed) == {"corpora", "near_duplicates", "tokens", "tokenizers"}
    assert all(len(each) == 1 for each in listed.values())
    for kind in ("corpora", "tokens"):
        assert listed[kind][0]["made_from"].endswith(" and 2 more")
    assert gptsmith.cache()["num_bytes"] > data.corpus.num_bytes
    age(cache, days=3)
    assert rows()["tokens"][0]["days_unused"] == pytest.approx(3, abs=0.1)
    assert rows(older_than=4) == {}
    assert set(rows(kind=["tokens"])) == {"tokens"}
    with pytest.raises(UserError, match=r"no such kind .*token.*did you mean tokens"):
        gptsmith.cache(kind=["token"])


def test_what_a_process_uses_stays(data: PreparedData, cache: Path) -> None:
    age(cache)
    figures = gptsmith.cache(empty=True)
    assert [row["kind"] for row in figures["artefacts"]] == ["tokenizers", "near_duplicates"]  # in memory
    assert {Path(path).parent.name for path in figures["in_use"]} == {"corpora", "tokens"}
    assert data.corpus.text(0)
    assert not data.train.verify()


def test_what_nobody_uses_goes_and_can_be_made_again(cache: Path, write: Callable[..., Path]) -> None:
    fingerprint = made(write).fingerprint
    gc.collect()
    assert rows(empty=True) == {}  # it was used just now
    age(cache)
    assert set(rows(empty=True)) == {"corpora", "near_duplicates", "tokens", "tokenizers"}
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert made(write).fingerprint == fingerprint


def test_what_was_used_just_now_and_what_is_being_built_stay(cache: Path) -> None:
    with built_once(cache / "tokens" / "new", lambda _: False) as working:
        assert working is not None
        (working / "shard").write_bytes(b"x")
        age(cache)
        assert rows(empty=True) == {}
    assert set(rows()) == {"tokens"}
    assert rows(empty=True) == {}  # used just now
    age(cache)
    assert set(rows(empty=True)) == {"tokens"}
    assert list((cache / "tokens").iterdir()) == []


def test_leftovers_are_listed_and_deleted(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / f"{TEMPORARY}mine-1").mkdir(parents=True)
    (tmp_path / f"{TEMPORARY}export-1").mkdir()
    (cache / "corpora" / ".partial-abc").mkdir(parents=True)
    (tmp_path / ".tmp-of-another").mkdir()
    assert len(rows()["leftovers"]) == 3
    assert len(rows(empty=True, kind=["leftovers"])["leftovers"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-of-another", "cache", "runs"]


def test_an_artefact_that_is_used_again_is_young_again(
    data: PreparedData, cache: Path, write: Callable[..., Path]
) -> None:
    age(cache, days=9)
    made(write)
    assert all(row["days_unused"] < 1 for each in rows().values() for row in each)
    assert len(contents(cache)) == 4
