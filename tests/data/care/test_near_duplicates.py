"""Near duplicates: known similarities, groups that no order of the documents changes, and which of which."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rensa import RMinHash

import gptsmith
from gptsmith.data.care import minhash
from gptsmith.data.care import near_duplicates as module
from gptsmith.data.care.near_duplicates import SIMILARITY, Documents, near_duplicates
from gptsmith.data.care.shingles import blocks, shingles
from gptsmith.data.corpus import DOCUMENT, Corpus, FileRecord, read_corpus
from gptsmith.data.readers import ReadSettings

WORDS = [f"word{number}" for number in range(1000)]


def changed(words: list[str], *places: int) -> list[str]:
    return [f"other{place}" if place in places else word for place, word in enumerate(words)]


def shingles_of(*texts: str) -> list[set[int]]:
    encoded = [text.encode() for text in texts]
    stops = np.cumsum([len(text) for text in encoded])
    hashes, offsets = shingles(b"".join(encoded), np.concatenate([[0], stops[:-1]]), stops, 5)
    return [set(hashes[start:stop].tolist()) for start, stop in pairwise(offsets)]


def shingles_by_hand(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9\u0080-\u07ff]+|[\u0800-\U0010ffff]", text.lower())
    return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))} if words else set()


@given(st.lists(st.text("abB1é你 .\n", max_size=40), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_shingles_are_the_words_in_a_row_and_cross_no_document(texts: list[str]) -> None:
    texts = [text for text in texts if text] or ["a"]
    by_hand = [shingles_by_hand(text) for text in texts]
    found = shingles_of(*texts)
    assert [len(each) for each in found] == [len(each) for each in by_hand]
    for one, plain in zip(found, by_hand, strict=True):
        for other, other_plain in zip(found, by_hand, strict=True):
            assert len(one & other) == len(plain & other_plain)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), min_size=1), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_blocks_hold_every_byte_of_every_document_once_and_no_gap(sizes: list[tuple[int, int]], block: int) -> None:
    stops = np.cumsum([size + gap for size, gap in sizes])
    starts = stops - [size for size, _ in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gptsmith.data.care.shingles.BLOCK_BYTES", block)
        found = list(blocks(starts, stops))
    pieces = [piece for part in found for piece in zip(*(column.tolist() for column in part), strict=True)]
    by_byte = [(place, number) for start, stop, number in pieces for place in range(start, stop)]
    expected = enumerate(zip(starts.tolist(), stops.tolist(), strict=True))
    assert by_byte == [(place, number) for number, (start, stop) in expected for place in range(start, stop)]
    for begins, ends, _ in found:
        assert (begins[1:] == ends[:-1]).all()
        assert ends[-1] - begins[0] <= block


def test_case_spaces_and_punctuation_do_not_count_and_long_words_do() -> None:
    assert shingles_of("Ein Wört, zwei: ÄRA “drei”") == shingles_of("ein\n\nwört zwei ära drei")
    one, other = shingles_of("a b c d " + "x" * 30, "a b c d " + "x" * 29 + "y")
    assert one != other
    empty, few, as_few = shingles_of("!?", "Yes.", "yes")
    assert not empty
    assert few == as_few
    assert len(few) == 1


@dataclass(frozen=True)
class Heap(Corpus):
    """Documents in memory, each with its hash."""

    content: bytes = b""
    rows: np.ndarray | None = None

    @property
    def table(self) -> np.ndarray:
        assert self.rows is not None
        return self.rows

    @property
    def num_bytes(self) -> int:
        return len(self.content)

    def read(self, start: int, stop: int) -> bytes:
        return self.content[start:stop]

    def open(self) -> io.BytesIO:  # type: ignore[override]
        return io.BytesIO(self.content)


def heap(texts: list[str]) -> Heap:
    rows, content = np.zeros(len(texts), DOCUMENT), b""
    for number, text in enumerate(texts):
        content += text.encode()
        rows[number] = (len(content), 0, number, number, hashlib.sha256(text.encode()).digest())
    return Heap(
        Path(),
        hashlib.sha256(content + rows.tobytes()).hexdigest(),
        [FileRecord("a.txt", "", 0)],
        content=content,
        rows=rows,
    )


def grouped(texts: list[str], folder: Path) -> set[frozenset[str]]:
    """The groups, by the texts of their documents."""
    return {frozenset(texts[number] for number in group) for group in near_duplicates([heap(texts)], folder).groups()}


def test_the_similarity_of_documents_is_as_reckoned_by_hand() -> None:
    words = WORDS[:104]  # 100 shingles, of which each changed word changes five
    texts = [words, changed(words, 50), changed(words, 20, 50), changed(words, 0), words[:54]]
    documents = Documents([heap([" ".join(text) for text in texts])])
    assert [documents.similarity(0, other) for other in range(1, 5)] == [95 / 105, 90 / 110, 99 / 101, 50 / 100]


def test_the_similarity_of_long_documents_is_estimated_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_SHINGLES", 200)
    monkeypatch.setattr("gptsmith.data.care.shingles.BLOCK_BYTES", 512)
    words = WORDS
    texts = [" ".join(text) for text in (words, changed(words, *range(0, 1000, 50)), words[:100], words)]
    documents = Documents([heap(texts), heap(texts)])
    exact = len(set.intersection(*shingles_of(*texts[:2]))) / len(set.union(*shingles_of(*texts[:2])))
    assert documents.similarity(0, 1) == pytest.approx(exact, abs=0.1)
    assert documents.similarity(0, 4) == 1
    assert documents.similarity(0, 2) < 0.3


def test_near_duplicates_are_found_and_others_are_not(tmp_path: Path) -> None:
    words = WORDS[:104]
    alike, chained = changed(words, 50), changed(words, 20, 40, 60)  # 0.90 and 0.74 of the first
    apart = changed(words, *range(0, 100, 10))  # 0.34
    texts = [" ".join(text) for text in (words, apart, alike, chained, WORDS[300:500])]
    assert grouped([*texts, "?!", "...", "Short", "short!"], tmp_path) == {
        frozenset((texts[0], texts[2], texts[3])),
        frozenset(("Short", "short!")),
    }


# Documents of few words, so that many of them are alike.
HEAPS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(" ".join), min_size=2, unique=True)


@given(HEAPS, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_groups_are_closed_and_no_order_changes_them(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], random: object
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    found = near_duplicates([heap(texts)], folder)
    documents = Documents([heap(texts)])
    group_of = found.group_of
    assert (group_of[group_of] == group_of).all()  # the first of a group is its own
    for group in found.groups():
        assert len(set(group.tolist())) == len(group) >= 2
        for number in group:  # each is similar to another of its group, and never paired with itself
            assert max(documents.similarity(number, other) for other in group if other != number) >= SIMILARITY
    for one in range(len(texts)):
        for other in range(len(texts)):
            if documents.similarity(one, other) == 1:
                assert group_of[one] == group_of[other]
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert grouped(shuffled, folder) == grouped(texts, folder)


def test_blocks_and_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(changed(WORDS[:length], length // 2)) for length in (7, 900, 30, 31, 1000, 8)]
    whole = np.concatenate([found for found, _ in minhash.corpus_digests(heap(texts))])
    monkeypatch.setattr(minhash, "num_cpus", lambda: 3)
    blocks = np.concatenate([found for found, _ in minhash.corpus_digests(heap(texts))])
    assert (blocks == whole).all()
    # What a cut tears apart is four shingles of a thousand.
    monkeypatch.setattr("gptsmith.data.care.shingles.BLOCK_BYTES", 4000)
    blocks = np.concatenate([found for found, _ in minhash.corpus_digests(heap(texts))])
    assert blocks.shape == whole.shape
    assert (blocks == whole).mean() > 0.98
    assert (blocks == whole)[[0, 2, 3, 5]].all()


def test_digests_are_those_by_which_the_splits_of_runs_were_made() -> None:
    """Others would put the documents of old runs into other splits."""
    hashes, _ = shingles(b"one two three four five six", np.array([0]), np.array([27]), 5)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, np.array([0, 6], np.uint64), 4, minhash.SEED)
    assert matrix.to_rows() == [[296634871, 1410181753, 967896226, 3261472634]]


def test_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(WORDS[:100]), " ".join(WORDS[1:100])]
    found = near_duplicates([heap(texts)], tmp_path)
    monkeypatch.setattr(module, "_Search", None)
    assert (near_duplicates([heap(texts)], tmp_path).group_of == found.group_of).all()
    assert not list(tmp_path.rglob("digests*"))


@pytest.fixture
def letters(write: Callable[..., Path]) -> Path:
    """Texts of a folder: two near duplicates in a file of records, a third in a file of its own, and others."""
    words = WORDS[:104]
    rows = [WORDS[500:600], words, changed(words, 50)]
    lines = "".join(json.dumps({"text": " ".join(row)}) + "\n" for row in rows)
    return write({"rows.jsonl": lines, "zoo.txt": " ".join(changed(words, 0)), "b.txt": " ".join(WORDS[300:420])})


def test_the_audit_says_which_is_a_duplicate_of_which(letters: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    found = gptsmith.audit(letters, out=out)["near_duplicates"]
    places = [(Path(one["file"]).name, one["line"], Path(one["of"]["file"]).name, one["of"]["line"]) for one in found]
    assert places == [("rows.jsonl", 3, "rows.jsonl", 2), ("zoo.txt", 1, "rows.jsonl", 2)]
    assert [one["similarity"] for one in found] == [95 / 105, 99 / 101]
    listed = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(one["kind"], one["sha256"]) for one in listed] == [("near_duplicate", one["sha256"]) for one in found]
    text = (letters / "zoo.txt").read_bytes()
    assert listed[1]["sha256"] == hashlib.sha256(text).hexdigest()
    assert (listed[1]["start"], listed[1]["stop"]) == (0, len(text))


def test_the_audit_names_what_is_validated_on_and_trained_on(letters: Path, write: Callable[..., Path]) -> None:
    same = " ".join(WORDS[300:420])
    held_out = write({"c.txt": same, "d.txt": " ".join(WORDS[301:420]), "e.txt": " ".join(WORDS[700:800])}, "held_out")
    figures = gptsmith.audit(letters, validation=[held_out])
    leaks = [(Path(one["file"]).name, Path(one["of"]["file"]).name, one["is_exact"]) for one in figures["leaks"]]
    assert leaks == [("c.txt", "b.txt", True), ("d.txt", "b.txt", False)]
    own = write({"train.txt": same, "test.txt": same, "validation.txt": same + " more"}, "own")
    leaks = [(one["split"], one["is_exact"]) for one in gptsmith.audit(own)["leaks"]]
    assert sorted(leaks) == [("test", True), ("validation", False)]


def test_without_the_documents_that_are_listed_nothing_leaks(letters: Path, write: Callable[..., Path]) -> None:
    held_out = write({"c.txt": " ".join(changed(WORDS[:104], 99))}, "held_out")
    out = letters.parent / "found.jsonl"
    assert gptsmith.audit(letters, validation=[held_out], out=out)["leaks"]
    listed = {json.loads(line)["sha256"] for line in out.read_text(encoding="utf-8").splitlines()}
    corpus = read_corpus([letters], ReadSettings(), letters.parent / "cache")
    left = [n for n in range(len(corpus)) if corpus.table[n]["sha256"].tobytes().hex() not in listed]
    kept = write({f"{number}.txt": corpus.text(number) for number in left}, "kept")
    figures = gptsmith.audit(kept, validation=[held_out])
    assert figures["num_documents"] == 2
    assert not figures["leaks"]
    assert not figures["near_duplicates"]
