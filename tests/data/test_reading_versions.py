"""The key of every artefact in the cache changes when what it was made from changes, and only then."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gptsmith.data import reading_versions as versions_module
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.readers import KINDS, Chunk, ReadSettings, SourceFile
from gptsmith.data.readers.txt import TxtReader
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings

MADE = ("corpora", "tokenizers", "tokens")
FILES = {f"{n}.txt": f"{n}: " + "word " * (20 + n % 7) for n in range(60)}


class Prepared:
    """Some files, prepared with a cache; `new` says which kinds of artefact the last time added."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self.known: set[Path] = set()

    def __call__(self, **changes: Any) -> PreparedData:
        settings = {"settings": DataSettings(), "seed": 1, "tokenizer": CharactersTokenizerSettings(), **changes}
        data = prepare([self.root], cache=self.cache, **settings)
        now = {path for kind in MADE for path in (self.cache / kind).iterdir() if path.is_dir()}
        self.new = {path.parent.name for path in now - self.known}
        self.known = now
        return data


@pytest.fixture
def prepared(write: Callable[..., Path], tmp_path: Path) -> Prepared:
    prepared = Prepared(write(FILES), tmp_path / "cache")
    prepared()
    assert prepared.new == set(MADE)
    return prepared


def other_text(self: TxtReader, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
    yield Chunk(file.path.read_text(encoding="utf-8").upper(), 0, file.path.stat().st_size)


def test_nothing_new_is_made_of_the_same(prepared: Prepared) -> None:
    (prepared.root / "0.txt").rename(prepared.root / "renamed.txt")
    prepared()
    assert not prepared.new


@pytest.mark.parametrize("change", ["changed", "added", "removed", "encoding"])
def test_all_is_made_again_of_other_files(prepared: Prepared, change: str) -> None:
    if change == "removed":
        (prepared.root / "7.txt").unlink()
    elif change != "encoding":
        name = {"changed": "7.txt", "added": "new.txt"}[change]
        (prepared.root / name).write_text("Something else. " * 20, encoding="utf-8")
    prepared(settings=DataSettings(encoding="latin-1" if change == "encoding" else None))
    # The same words in another encoding are the same words.
    assert prepared.new == ({"corpora"} if change == "encoding" else set(MADE))


@pytest.mark.parametrize("is_other_text", [False, True])
@pytest.mark.parametrize("what", ["code", "library"])
def test_another_version_of_a_reader_reads_again_and_what_follows_goes_by_the_text(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, what: str, is_other_text: bool
) -> None:
    if what == "library":
        monkeypatch.setattr(TxtReader, "libraries", {"numpy": "numpy"})
        prepared()
        monkeypatch.setattr(versions_module, "library_version", lambda *_: "2.0")
    else:
        monkeypatch.setattr(versions_module, "source_sha256", lambda _: "another")
    if is_other_text:
        monkeypatch.setattr(TxtReader, "read", other_text)
    data = prepared()
    assert prepared.new == (set(MADE) if is_other_text else {"corpora"})
    words = data.tokenizer.decode(data.train.slice(0, len(data.train)).tolist())
    assert ("WORD" in words, "word" in words) == (is_other_text, not is_other_text)


def test_other_splits_make_other_tokens_of_the_same_corpus(prepared: Prepared) -> None:
    prepared(seed=2)
    assert prepared.new == {"tokenizers", "tokens"}
    prepared(settings=DataSettings(validation_fraction=0.3))
    assert prepared.new == {"tokenizers", "tokens"}


def test_a_corpus_that_is_built_anew_under_its_key_takes_nothing_that_was_made_of_the_old_one(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus,) = (prepared.cache / "corpora").glob("[!.]*")
    (corpus / "documents.bin").write_bytes(b"")
    monkeypatch.setattr(TxtReader, "read", other_text)
    data = prepared()
    assert prepared.new == {"tokenizers", "tokens"}
    words = data.tokenizer.decode(data.train.slice(0, len(data.train)).tolist())
    assert "WORD" in words
    position = int(data.train.document_ends[3]) - 2
    assert "WORD" in data.corpus.text(data.train.document_at(position))


@pytest.mark.parametrize("kind", KINDS.names())
def test_a_reader_names_every_library_that_it_imports(kind: str) -> None:
    reader = KINDS.settings(kind)
    source = Path(str(sys.modules[reader.__module__].__file__)).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    others = imported - sys.stdlib_module_names - {"gptsmith", "pydantic"}
    assert others == {module.partition(".")[0] for module in reader.libraries}
