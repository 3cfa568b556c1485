"""Documents on disk: duplicates, provenance, problems of files, going on after a crash, finding again."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.files import read_json, sha256_of, write_json
from gptsmith.data import corpus as corpus_module
from gptsmith.data import corpus_build as build_module
from gptsmith.data.corpus import Corpus, read_corpus
from gptsmith.data.readers import Chunk, ReadSettings, SourceFile
from gptsmith.data.readers.csv import CsvReader
from gptsmith.data.readers.md import MdReader
from gptsmith.data.readers.txt import TxtReader
from gptsmith.data.settings import DataSettings

SETTINGS = DataSettings()


def texts(corpus: Corpus) -> list[str]:
    return [corpus.text(document) for document in range(len(corpus))]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that the reader of plain text reads."""
    files: list[Path] = []
    read = TxtReader.read

    def recorded(self: TxtReader, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        files.append(file.path)
        return read(self, file, settings)

    monkeypatch.setattr(TxtReader, "read", recorded)
    return files


def test_exact_duplicates_are_skipped_and_counted(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write({"a.txt": "one", "b.txt": "two", "c/d.txt": "one", "e.md": "one", "empty.txt": ""})
    corpus = read_corpus([root], SETTINGS, tmp_path / "cache")
    assert sorted(texts(corpus)) == ["one", "two"]
    assert corpus.num_bytes == 6
    summary = corpus.summary
    assert summary["num_duplicates"] == 2
    assert summary["num_documents"] == 2
    assert summary["num_files"] == 5
    assert len(summary["files"][str(root / "a.txt")]) == 64


def test_a_duplicate_in_the_middle_of_a_file_leaves_nothing_behind(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write({"a.jsonl": '{"text": "x"}\n{"text": "x"}\n{"text": "yy"}\n{"text": "x"}\n'})
    corpus = read_corpus([root], SETTINGS, tmp_path / "cache")
    assert texts(corpus) == ["x", "yy"]
    assert corpus.summary["num_duplicates"] == 2


def test_half_a_surrogate_pair_does_not_stop_the_reading(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TxtReader, "read", lambda *_: iter([Chunk("a\ud800b", 0, 3)]))
    assert texts(read_corpus([write({"a.txt": "a"})], SETTINGS, tmp_path / "cache")) == ["a?b"]


def test_provenance_gives_the_text_back(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write({f"{n}.txt": ("\ufeff" if n % 2 else "") + f"Zürich {n}\r\n東京" for n in range(9)})
    corpus = read_corpus([root], SETTINGS, tmp_path / "cache")
    for document in range(len(corpus)):
        path, start, stop = corpus.source(document)
        assert path.read_bytes()[start:stop].decode().replace("\r\n", "\n") == corpus.text(document)
        assert len(corpus.text(document)) == len("Zürich 0\n東京")


def test_it_is_found_again_by_content_wherever_the_files_are(
    write: Callable[..., Path], tmp_path: Path, reads: list[Path]
) -> None:
    root = write({"a.txt": "one", "b.txt": "two"})
    first = read_corpus([root], SETTINGS, tmp_path / "cache")
    assert len(reads) == 2
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (root / "a.txt").rename(moved / "z.txt")
    (root / "b.txt").rename(moved / "a.txt")
    again = read_corpus([moved], SETTINGS, tmp_path / "cache")
    assert len(reads) == 2
    assert again.folder == first.folder
    assert {again.text(n): again.source(n)[0].name for n in range(2)} == {"one": "z.txt", "two": "a.txt"}
    (moved / "a.txt").write_text("three", encoding="utf-8")
    assert read_corpus([moved], SETTINGS, tmp_path / "cache").fingerprint != first.fingerprint
    assert read_corpus([moved], ReadSettings(encoding="latin-1"), tmp_path / "cache").folder != first.folder


def test_the_split_settings_do_not_read_again(write: Callable[..., Path], tmp_path: Path, reads: list[Path]) -> None:
    root = write({"a.txt": "one"})
    read_corpus([root], SETTINGS, tmp_path / "cache")
    read_corpus([root], DataSettings(validation_fraction=0), tmp_path / "cache")
    assert len(reads) == 1


@pytest.mark.parametrize("commit_bytes", [0, 60, 10**9])
def test_a_build_resumes_after_a_crash_and_gives_the_same_bytes(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path], commit_bytes: int
) -> None:
    files = {f"{n}.txt": f"document {n % 7}\n" * (n % 7 + 1) for n in range(12)}
    root = write({**files, "bad.txt": b"\xff\xfe\xfa", "late.txt": b"x" * 50 + b"\xe9"})
    whole = read_corpus([root], SETTINGS, tmp_path / "whole")
    monkeypatch.setattr(build_module, "COMMIT_BYTES", commit_bytes)
    add = build_module.CorpusBuild._add_documents
    attempts = 0
    while True:
        before = len(reads)

        def add_two_files(self, number, candidate, before=before):  # type: ignore[no-untyped-def]
            if len(reads) - before == 2 and commit_bytes < 10**9:
                # Torn: text is there that no journal entry vouches for.
                self.text.write(b"half a document")
                raise RuntimeError("killed")
            return add(self, number, candidate)

        monkeypatch.setattr(build_module.CorpusBuild, "_add_documents", add_two_files)
        try:
            resumed = read_corpus([root], SETTINGS, tmp_path / "resumed")
            break
        except RuntimeError:
            attempts += 1
            assert attempts < 20
            if commit_bytes == 60:  # an entry every few files: let the next attempt come further
                monkeypatch.setattr(build_module, "COMMIT_BYTES", 0)
    assert (attempts > 0) == (commit_bytes < 10**9)
    assert files_of(resumed.folder) == files_of(whole.folder)
    assert len(reads) - 14 <= 14 + 2 * attempts
    assert not list((tmp_path / "resumed" / "corpora").glob(".partial-*"))


def test_a_torn_journal_line_is_cut_away(tmp_path: Path) -> None:
    journal = build_module.Journal(tmp_path / "journal")
    journal.append({"a": 1})
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"a": ')
    assert journal.entries() == [{"a": 1}]
    journal.append({"a": 2})
    assert journal.entries() == [{"a": 1}, {"a": 2}]


def test_a_file_with_a_problem_is_skipped_in_a_folder_and_refused_by_name(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    root = write(
        {
            "good.txt": "good",
            "binary.txt": b"a\0b",
            "latin.txt": b"caf\xe9",
            "picture.png": b"\x89PNG",
        }
    )
    cache = tmp_path / "cache"
    corpus = read_corpus([root], SETTINGS, cache)
    assert texts(corpus) == ["good"]
    skipped = corpus.summary["skipped"]
    assert skipped[str(root / "binary.txt")].startswith("a binary file")
    assert skipped[str(root / "latin.txt")].startswith("byte 3 is not UTF-8")
    assert skipped[str(root / "picture.png")].startswith("unknown extension .png (an image")
    assert str(root / "latin.txt") not in corpus.summary["files"]
    # Also where the same files were read before as a folder's.
    with pytest.raises(UserError, match=r"latin\.txt: byte 3 is not UTF-8"):
        read_corpus([root, root / "latin.txt"], SETTINGS, cache)
    with pytest.raises(UserError, match=r"latin\.txt: byte 3 is not UTF-8"):
        read_corpus([root, root / "latin.txt"], SETTINGS, tmp_path / "other")
    assert not list((tmp_path / "other" / "corpora").glob(".partial-*"))


def test_a_file_that_may_not_be_read(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"good.txt": "good", "closed.txt": "closed"})

    def refused(path: Path) -> str:
        if path.name == "closed.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return sha256_of(path)

    monkeypatch.setattr(corpus_module, "sha256_of", refused)
    skipped = read_corpus([root], SETTINGS, tmp_path / "cache").summary["skipped"]
    assert skipped == {str(root / "closed.txt"): "cannot be read: Permission denied"}
    with pytest.raises(UserError, match=r"closed\.txt cannot be read"):
        read_corpus([root / "closed.txt"], SETTINGS, tmp_path / "cache")


def test_a_library_that_comes_later_has_its_files_read_beside_what_was_read_before(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = write({"good.md": "good", "table.csv": "text\nrare\n"}), tmp_path / "cache"
    monkeypatch.setattr(CsvReader, "libraries", {"rare_library": "rare-library"})
    read = CsvReader.read

    def with_library(self: CsvReader, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        if "rare_library" not in sys.modules:
            raise MissingExtraError(f"{file.path}: reading it", "rare")
        yield from read(self, file, settings)

    monkeypatch.setattr(CsvReader, "read", with_library)
    for _ in range(2):
        corpus = read_corpus([root], SETTINGS, cache)
        assert texts(corpus) == ["good"]
        assert "pip install rare" in corpus.summary["skipped"][str(root / "table.csv")]
    monkeypatch.setitem(sys.modules, "rare_library", ModuleType("rare_library"))
    now = read_corpus([root], SETTINGS, cache)
    assert sorted(texts(now)) == ["good", "rare"]
    assert not now.summary["skipped"]
    assert texts(corpus) == ["good"]  # who began without the library is not disturbed
    assert now.folder != corpus.folder


def test_no_text_at_all_is_an_error(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no text in 2 files \(.*b\.txt: a binary file"):
        read_corpus([write({"a.txt": "", "b.txt": b"\0"})], SETTINGS, tmp_path / "cache")


def test_why_no_file_can_be_read_is_said_once(write: Callable[..., Path], tmp_path: Path) -> None:
    """And a misspelt encoding before any file is opened, whatever the files are in."""
    files: dict[str, str | bytes] = {f"{n}.txt": b"x" * n + b"caf\xe9" for n in range(9)}
    root = write({**files, "a.txt": b"\0", "b.pdf": b"x", "c.docx": b"x", "d.xlsx": b"x"})
    with pytest.raises(UserError) as error:
        read_corpus([root], SETTINGS, tmp_path / "cache")
    assert str(error.value).count("is not UTF-8") == 1
    assert "txt and 8 more: byte " in str(error.value)
    assert "2 more for other reasons" in str(error.value)
    (root / "e.txt").write_text("in UTF-8", encoding="utf-8")
    for parse in (ReadSettings.parse, DataSettings.parse):
        with pytest.raises(UserError, match=r"encoding: no such encoding: klingon \(allowed are"):
            parse({"encoding": "klingon"}, "data")


def test_a_damaged_corpus_is_built_again(write: Callable[..., Path], tmp_path: Path, reads: list[Path]) -> None:
    root = write({"a.txt": "one", "b.txt": "two"})
    corpus = read_corpus([root], SETTINGS, tmp_path / "cache")
    before = files_of(corpus.folder)
    for name in before:
        shutil.copytree(corpus.folder, tmp_path / "kept", dirs_exist_ok=True)
        (corpus.folder / name).write_bytes(b"")
        assert files_of(read_corpus([root], SETTINGS, tmp_path / "cache").folder) == before


@pytest.mark.skipif(os.name == "nt", reason="the system has no modes")
def test_the_cache_is_private(write: Callable[..., Path], tmp_path: Path) -> None:
    corpus = read_corpus([write({"a.txt": "one"})], SETTINGS, tmp_path / "cache")
    for folder in (tmp_path / "cache", tmp_path / "cache" / "corpora", corpus.folder):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_one_line_and_nothing_is_left(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_module.CorpusBuild, "_add_documents", full)
    with pytest.raises(UserError, match="no room on the disk"):
        read_corpus([write({"a.txt": "one"})], SETTINGS, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "corpora").iterdir() if path.is_dir()]


def test_a_file_that_grows_while_it_is_read_is_refused(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"a.txt": "one"})

    def growing(self: TxtReader, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        file.path.write_text("one and more", encoding="utf-8")
        yield Chunk("one", 0, 3)

    monkeypatch.setattr(TxtReader, "read", growing)
    with pytest.raises(UserError, match="changed while it was read"):
        read_corpus([root / "a.txt"], SETTINGS, tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="the names of files are UTF-8 there")
def test_a_name_that_is_not_utf8_is_read_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / os.fsdecode(b"Stra\xdfe.txt")).write_text("words", encoding="utf-8")
    (folder / os.fsdecode(b"\xff.bin")).write_bytes(b"")
    for _ in range(2):
        corpus = read_corpus([folder], SETTINGS, tmp_path / "cache")
        assert texts(corpus) == ["words"]
        assert corpus.source(0)[0].exists()
        write_json(tmp_path / "data.json", corpus.summary)
        assert read_json(tmp_path / "data.json", with_names=True) == corpus.summary


@pytest.mark.parametrize(
    "error", [TypeError("x" * 10_000 + "\nmore"), RecursionError(), MemoryError(), AssertionError()]
)
def test_whatever_a_reader_raises_at_an_odd_file_the_others_are_read(
    error: Exception, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"odd.md": "odd", "good.txt": "good"})
    read = MdReader.read

    def fails(self: MdReader, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        yield from read(self, file, settings)
        raise error

    monkeypatch.setattr(MdReader, "read", fails)
    corpus = read_corpus([root], SETTINGS, tmp_path / "cache")
    assert texts(corpus) == ["good"]
    (reason,) = corpus.summary["skipped"].values()
    assert len(reason) < 400
    assert "\n" not in reason


def test_line_ends_are_the_same_in_every_format(write: Callable[..., Path], tmp_path: Path) -> None:
    """CRLF also where a chunk ends between its halves, and inside of records."""
    root = write(
        {
            "a.txt": "one\r\ntwo\rthree\n",
            "b.jsonl": json.dumps({"text": "four\r\nfive"}),
            "c.csv": 'text\r\n"six\r\nseven"\r\n',
        }
    )
    assert sorted(texts(read_corpus([root], SETTINGS, tmp_path / "cache"))) == [
        "four\nfive",
        "one\ntwo\nthree\n",
        "six\nseven",
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_line_ends_across_chunks(
    block: int, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptsmith.data.decoding.BLOCK_BYTES", block)
    root = write({"a.txt": "a\r\nb\r\r\nc\r"})
    assert texts(read_corpus([root], SETTINGS, tmp_path / "cache")) == ["a\nb\n\nc\n"]


def test_text_without_bound_is_refused(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptsmith.data.files.FREE_EXPANSION_BYTES", 100)
    root = write({"a.txt.gz": gzip.compress(b"word " * 10_000), "b.txt": "good"})
    corpus = read_corpus([root], DataSettings(max_expansion=20), tmp_path / "cache")
    assert texts(corpus) == ["good"]
    assert "--set data.max_expansion" in corpus.summary["skipped"][str(root / "a.txt.gz")]
    assert len(texts(read_corpus([root], DataSettings(max_expansion=2000), tmp_path / "cache"))) == 2


def test_bytes_that_are_no_text_are_replaced_and_said(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write({"a.txt": b"caf\xe9 and \xff", "b.txt": "è \ufffd"})
    corpus = read_corpus([root], DataSettings(encoding_errors="replace"), tmp_path / "cache")
    assert sorted(texts(corpus)) == ["caf\ufffd and \ufffd", "è \ufffd"]
    assert corpus.summary["remarks"] == {str(root / "a.txt"): ["2 places that are not UTF-8: read as U+FFFD"]}


def test_a_named_encoding_is_for_the_files_that_need_it(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write(
        {
            "a.txt": "Grüße",
            "b.txt": "Größe".encode("cp1252"),
            "c.txt": "\ufeffMaß".encode("utf-16-le"),
            "d.html": "<meta charset=koi8-r><p>Гавань</p>".encode("koi8-r"),
        }
    )
    corpus = read_corpus([root], DataSettings(encoding="cp1252"), tmp_path / "cache")
    assert sorted(texts(corpus)) == ["Größe", "Grüße", "Maß", "Гавань"]
