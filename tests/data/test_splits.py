"""Training and validation splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data import splits as split_module
from gptsmith.data.care.near_duplicates import near_duplicates
from gptsmith.data.corpus import read_corpus
from gptsmith.data.settings import DataSettings
from gptsmith.data.splits import Split, Splits, split_corpus

SHAKESPEARE = Path(__file__).parents[2].parent / "shared" / "data" / "tinyshakespeare.txt"


def split_of(root: Path, settings: DataSettings | None = None, seed: int = 1, validation: Path | None = None) -> Splits:
    settings = settings or DataSettings()
    cache = root.parent / "cache"
    held_out = read_corpus([validation], settings, cache) if validation else None
    return split_corpus(read_corpus([root], settings, cache), settings, seed, held_out)


def texts(split: Split | None) -> list[str]:
    assert split is not None
    documents: list[str] = [""]
    for chunk in split.chunks():
        documents[-1] += chunk.text
        if chunk.last:
            documents.append("")
    assert documents.pop() == ""
    return documents


def many(count: int = 60) -> dict[str, str]:
    return {f"{n}.txt": f"{n}: " + "word " * (20 + n % 7) for n in range(count)}


def test_one_file_is_split_as_nanogpt_does(write: Callable[..., Path]) -> None:
    if SHAKESPEARE.exists():
        data = SHAKESPEARE.read_text(encoding="utf-8")
    else:
        data = "".join(f"Line {n} of a play.\n" for n in range(5003))
    splits = split_of(write({"input.txt": data}))
    assert splits.by == "position"
    assert texts(splits.train) == [data[: int(len(data) * 0.9)]]
    assert texts(splits.validation) == [data[int(len(data) * 0.9) :]]


def test_documents_are_whole_and_in_one_part(write: Callable[..., Path]) -> None:
    files = many()
    root = write(files)
    splits = split_of(root)
    assert splits.by == "document"
    train, validation = set(texts(splits.train)), set(texts(splits.validation))
    assert not train & validation
    assert train | validation == set(files.values())
    share = sum(map(len, validation)) / sum(map(len, files.values()))
    assert 0.05 < share < 0.15
    assert set(texts(split_of(root, seed=1).validation)) == validation
    assert set(texts(split_of(root, seed=2).validation)) != validation


def test_a_cap_bounds_the_validation_part(write: Callable[..., Path]) -> None:
    capped = DataSettings(validation_max_bytes=400)
    by_document = split_of(write(many()), capped)
    assert by_document.by == "document"
    assert by_document.validation is not None
    assert 200 <= by_document.validation.num_bytes <= 600
    by_position = split_of(write({"one.txt": "word " * 2000}, "one"), capped)
    assert by_position.by == "position"
    assert by_position.validation is not None
    assert abs(by_position.validation.num_bytes - 400) <= 1


def test_very_uneven_documents_are_split_by_position(write: Callable[..., Path]) -> None:
    files = {f"{n}.txt": f"tiny {n}" for n in range(40)} | {"huge.txt": "word " * 5000}
    splits = split_of(write(files))
    assert splits.by == "position"
    assert sum(map(len, texts(splits.train))) + sum(map(len, texts(splits.validation))) == splits.train.corpus.num_bytes


def test_a_cut_is_never_inside_a_character(write: Callable[..., Path]) -> None:
    for length in range(1000, 1012):
        data = "a" * (length % 4) + "🙂" * length
        splits = split_of(write({"one.txt": data}, f"source{length}"))
        assert texts(splits.train)[0] + texts(splits.validation)[0] == data


def test_no_validation(write: Callable[..., Path]) -> None:
    splits = split_of(write(many()), DataSettings(validation_fraction=0))
    assert splits.validation is None
    assert len(splits.train) == 60


def test_given_validation_files_lose_what_also_trains(write: Callable[..., Path]) -> None:
    files = many()
    other = {"a.txt": files["3.txt"], "b.txt": "new text " * 20, "c.txt": files["4.txt"]}
    splits = split_of(write(files), validation=write(other, "validation"))
    assert len(splits.train) == 60
    assert texts(splits.validation) == ["new text " * 20]
    assert splits.num_duplicates == 2
    only_known = write({"a.txt": files["3.txt"]}, "known")
    wanted = r"0 bytes to validate on \(documents skipped because the training split has them: 1\)"
    with pytest.raises(UserError, match=wanted):
        split_of(write(files), validation=only_known)


def test_too_small_says_how_much_is_needed_and_the_ways_out(write: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"at least 1 kB are needed.*validation_fraction=0.*--validation PATH"):
        split_of(write({"a.txt": "x" * 1050}))
    with pytest.raises(UserError, match=r"at least 100 bytes are needed, so about 10 kB of text.*--validation PATH"):
        split_of(write({"a.txt": "x" * 2000}, "second"), DataSettings(validation_fraction=0.01))
    assert split_of(write({"a.txt": "x" * 1050}, "third"), DataSettings(validation_fraction=0)).validation is None
    with pytest.raises(UserError, match=r"name more sources$"):
        split_of(write({"a.txt": "x" * 999}, "fourth"), DataSettings(validation_fraction=0))


def test_chunks_are_small_and_encoding_resumes_at_each(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_module, "CHUNK_BYTES", 100)
    files = {"a.txt": "Zürich is a town. " * 80, "b.txt": "東京 is a city.\n" * 50, "c.txt": "x" * 1000}
    split = split_of(write(files), DataSettings(validation_fraction=0)).train
    chunks = list(split.chunks())
    assert sorted(texts(split)) == sorted(files.values())
    assert sum(chunk.last for chunk in chunks) == 3
    assert all(chunk.num_bytes == len(chunk.text.encode()) for chunk in chunks)
    assert all(chunk.num_bytes <= 100 for chunk in chunks if set(chunk.text) != {"x"})
    assert [chunk.num_bytes for chunk in chunks if set(chunk.text) == {"x"}] == [800, 200]
    for number, chunk in enumerate(chunks):
        on = (chunk.number + 1, None) if chunk.last else (chunk.number, chunk.stop)
        assert list(split.chunks(*on)) == chunks[number + 1 :]


def near_copies(count: int, of: int = 3) -> dict[str, str]:
    """Files of 100 words, of which some are copies of others but for a word."""
    files = {}
    for number in range(count):
        words = [f"w{number // of}x{place}" for place in range(100)]
        words[number % 40] = f"n{number}"
        files[f"{number}.txt"] = " ".join(words)
    return files


def groups_in(split: Split | None) -> set[str]:
    return {text.split()[50].split("x")[0] for text in texts(split)}


def split_in_groups(root: Path, seed: int = 1) -> Splits:
    """The splits of a folder whose near duplicates are known."""
    corpus = read_corpus([root], DataSettings(), root.parent / "cache")
    group_of = near_duplicates([corpus], root.parent / "cache").group_of
    return split_corpus(corpus, DataSettings(), seed, group_of=group_of)


@pytest.mark.parametrize("seed", range(3))
def test_no_group_of_near_duplicates_is_in_both_splits(write: Callable[..., Path], seed: int) -> None:
    root = write(near_copies(90))
    apart, mixed = split_in_groups(root, seed), split_of(root, seed=seed)
    assert apart.by == "document"
    assert not groups_in(apart.train) & groups_in(apart.validation)
    assert groups_in(apart.train) | groups_in(apart.validation) == {f"w{number}" for number in range(30)}
    assert apart.validation is not None
    assert 0.05 < apart.validation.num_bytes / apart.train.corpus.num_bytes < 0.15
    assert groups_in(mixed.train) & groups_in(mixed.validation)


def test_a_group_as_large_as_the_validation_split_trains(write: Callable[..., Path]) -> None:
    splits = split_in_groups(write({**near_copies(30, of=30), **{f"a{name}": text for name, text in many().items()}}))
    assert splits.by == "document"
    assert len([text for text in texts(splits.train) if text.startswith(("w0", "n0"))]) == 30


def test_documents_without_near_duplicates_are_split_as_they_were_before_these_were_known(
    write: Callable[..., Path],
) -> None:
    splits = split_in_groups(write(many()))
    sizes = {text: len(text) for text in many().values()}
    hashes = {text: hashlib.sha256(text.encode()).digest() for text in sizes}
    ranks = {text: hashlib.sha256(b"1/validation/" + hashes[text]).digest()[7::-1] for text in sizes}
    order = sorted(sizes, key=ranks.__getitem__)
    taken = list(accumulate(sizes[text] for text in order))
    count = min(range(len(order)), key=lambda number: abs(taken[number] - 0.1 * taken[-1])) + 1
    assert set(texts(splits.validation)) == set(order[:count])


def test_split_inside_documents_near_duplicates_train_whole(write: Callable[..., Path]) -> None:
    alone = {f"alone{n}.txt": " ".join(f"a{n}b{place}" for place in range(300)) for n in range(2)}
    splits = split_in_groups(write({**near_copies(4, of=4), **alone}))
    assert splits.by == "position"
    assert splits.validation is not None
    assert all(text.split()[-1].startswith("a") for text in texts(splits.validation))
    assert splits.validation.num_bytes / splits.train.corpus.num_bytes == pytest.approx(0.1, abs=0.01)


def test_where_nothing_but_near_duplicates_is_there_they_are_split_all_the_same(write: Callable[..., Path]) -> None:
    splits = split_in_groups(write(near_copies(4, of=4)))
    assert len(texts(splits.validation)) == 4
