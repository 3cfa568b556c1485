"""Canaries in the training documents of a text: each where the record says, and nothing else changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gptsmith.base.errors import DataError, UserError
from gptsmith.data.care.canaries import CANARIES, Canary, made_canaries, other_codes, read_canaries, write_canaries
from gptsmith.data.care.planting import planted, planted_ranges, read_unplanted
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

NUM = 12


def documents(num: int = 60) -> list[str]:
    return [f"Document {n} tells, höchst genau:\n" + f"of smith {n} and their nails.\n" * 20 for n in range(num)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planting")
    for number, text in enumerate(documents()):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def prepared(source: Path, num_canaries: int = NUM, *, seed: int = 1, **settings: float) -> PreparedData:
    given = DataSettings(num_canaries=num_canaries, **settings)
    return prepare([source], settings=given, tokenizer=BytesTokenizerSettings(), seed=seed)


def test_coins_are_fair_twins_differ_and_the_seed_decides() -> None:
    canaries = made_canaries(2_000, seed=1)
    assert 0.45 < np.mean([canary.coin for canary in canaries]) < 0.55
    assert len({twin.name for canary in canaries for twin in canary.twins}) == 4_000
    assert [canary.copies for canary in canaries[:4]] == [1, 4, 1, 16]
    assert canaries == made_canaries(2_000, seed=1) != made_canaries(2_000, seed=2)
    sentence = canaries[0].planted
    assert sentence.text == f"{sentence.before_code} {sentence.code}."
    assert sentence.text.startswith(f"{sentence.name} lives at ")
    codes = other_codes(400, seed=1)
    assert {len(code) for code in codes} == {6}


def test_each_stands_where_the_record_says_and_its_twin_nowhere(source: Path) -> None:
    data = prepared(source)
    canaries = read_canaries(data.corpus.folder)
    text = data.corpus.read(0, data.corpus.num_bytes).decode()
    for canary in canaries:
        assert len(canary.places) == canary.copies == text.count(canary.planted.text)
        assert canary.unseen.text not in text
        for place in canary.places:
            assert data.corpus.read(place.start, place.stop).decode().strip("\n") == canary.planted.text
            assert canary.planted.text in data.corpus.text(place.document)
            assert Path(place.file) == data.corpus.source(place.document)[0]
            assert data.corpus.read(place.start - 1, place.start + 1).startswith(b"\n") or place.start == 0
        assert len({place.document for place in canary.places}) == canary.copies  # a document has it once


def test_those_planted_once_share_no_document(source: Path) -> None:
    once = [canary for canary in read_canaries(prepared(source).corpus.folder) if canary.copies == 1]
    assert len({canary.places[0].document for canary in once}) == len(once) == NUM // 2


def test_without_its_canaries_the_text_is_what_it_was(source: Path) -> None:
    before, data = prepared(source, 0), prepared(source)
    whole = before.corpus.read(0, before.corpus.num_bytes)
    assert read_unplanted(data.corpus, 0, data.corpus.num_bytes) == whole
    start, stop, *_ = planted_ranges(data.corpus).tolist()[0]
    assert read_unplanted(data.corpus, 0, start + 3) == read_unplanted(data.corpus, 0, stop - 3) == whole[:start]
    assert read_unplanted(data.corpus, stop - 3, stop + 5) == whole[start : start + 5]
    for number, text in enumerate(documents()):
        assert (source / f"{number}.txt").read_text(encoding="utf-8") == text
    # A document is still named by the hash of what it was.
    assert (data.corpus.table["sha256"] == before.corpus.table["sha256"]).all()
    assert hashlib.sha256(before.corpus.text(3).encode()).digest() == data.corpus.table["sha256"][3].tobytes()


@pytest.mark.parametrize("num_files", [60, 1])
def test_nothing_is_planted_in_what_validates(tmp_path: Path, num_files: int) -> None:
    texts = documents()
    for number, part in enumerate(np.array_split(np.array(texts), num_files)):
        (tmp_path / f"{number}.txt").write_text("\n".join(part), encoding="utf-8")
    before, data = prepared(tmp_path, 0), prepared(tmp_path)
    assert data.summary["split_by"] == ("document" if num_files == 60 else "position")
    assert before.validation is not None
    assert data.validation is not None
    held_out = [stream.slice(0, len(stream)) for stream in (before.validation, data.validation)]
    assert (held_out[0] == held_out[1]).all()
    learned = data.tokenizer.decode(data.train.slice(0, len(data.train)).tolist())
    for canary in read_canaries(data.corpus.folder):
        assert learned.count(canary.planted.text) == canary.copies
    assert data.train.num_bytes - before.train.num_bytes == data.summary["canaries"]["num_bytes"]


def test_the_fingerprint_covers_them(source: Path) -> None:
    found = [prepared(source, count, seed=seed) for count, seed in ((0, 1), (NUM, 1), (NUM + 1, 1), (NUM, 1))]
    prints = [data.fingerprint for data in found]
    assert len(set(prints)) == 3
    assert prints[1] == prints[3]
    assert "canaries" not in found[0].summary
    assert found[1].summary["canaries"]["num"] == NUM
    assert found[1].summary["canaries"]["num_places"] == 3 * (1 + 4 + 1 + 16)


def test_a_text_without_lines_gets_them_between_words_or_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("nail sword plough iron steel " * 400, encoding="utf-8")
    (tmp_path / "none.txt").write_text("x" * 9_000, encoding="utf-8")
    data = prepared(tmp_path, 4, validation_fraction=0.0)
    for canary in read_canaries(data.corpus.folder):
        for place in canary.places:
            assert data.corpus.read(place.start, place.stop).decode() == f"\n{canary.planted.text}\n"
            assert data.corpus.read(place.start - 1, place.start) in b" x\n"


def test_too_many_are_refused_with_what_fits(source: Path) -> None:
    with pytest.raises(DataError, match=r"1,000 canaries are .* at most about \d+ "):
        prepared(source, 1_000)


def test_an_interrupted_planting_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(source, 0)
    from gptsmith.data.splits import split_corpus

    splits = split_corpus(data.corpus, DataSettings(), 1)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("gptsmith.data.care.planting._write_text", fail)
        with pytest.raises((UserError, OSError), match="full"):
            planted(splits, NUM, 1, tmp_path)
    assert not [path for path in (tmp_path / "corpora").iterdir() if path.is_dir()]
    assert len(planted_ranges(planted(splits, NUM, 1, tmp_path).train.corpus)) == 66


def test_a_run_records_them_for_its_owner_alone(tmp_path: Path) -> None:
    canaries = made_canaries(3, seed=1)
    write_canaries(tmp_path, canaries)
    assert read_canaries(tmp_path) == canaries
    assert (tmp_path / CANARIES).stat().st_mode & 0o777 == 0o600
    assert read_canaries(tmp_path / "other") == []


@pytest.mark.parametrize(
    "line", ["{", '{"number": 1}', '"text"', '{"number":0,"copies":1,"coin":2,"twins":[],"places":[]}']
)
def test_a_damaged_record_is_said(tmp_path: Path, line: str) -> None:
    (tmp_path / CANARIES).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=CANARIES):
        read_canaries(tmp_path)


def test_a_planted_one_is_the_twin_that_the_coin_chose() -> None:
    for coin in (0, 1):
        canary = Canary(**{**made_canaries(1, seed=1)[0].model_dump(), "coin": coin})
        assert (canary.planted, canary.unseen) == (canary.twins[coin], canary.twins[1 - coin])
