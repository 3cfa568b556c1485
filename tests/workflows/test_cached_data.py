"""What a run says that it was trained on is what it was trained on, whatever the cache holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.data.prepare import prepare
from gptsmith.run.folder import Run
from gptsmith.serve.example_prompts import first_prompts
from gptsmith.train.run_settings import RunSettings
from gptsmith.train.validation_text import validation_text
from tests.workflows.conftest import SMALL, Outcome, write_text

STEPS = [*SMALL, "train.num_steps=2"]
WORDS = "Zanzibar exports cloves. "


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of plain text, and a table with words of its own."""
    folder = write_text(tmp_path / "mixed")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({"text": [f"{number}: {WORDS * 20}" for number in range(40)]}), folder / "t.parquet"
    )
    return folder


def trained_on(run: str) -> tuple[dict[str, Any], list[str], set[str]]:
    """The content of data.json; the documents that were trained on; the files that these are said to come from."""
    settings = RunSettings.parse(Run.open(run).settings())
    data = prepare(
        settings.request.sources, settings=settings.data, tokenizer=Run.open(run).tokenizer(), seed=settings.train.seed
    )
    numbers = [int(number) for number in data.train.documents["document"]]
    texts = [data.tokenizer.decode(data.train.slice(0, len(data.train)).tolist())]
    return Run.open(run).data(), texts, {data.corpus.source(number)[0].name for number in numbers}


def test_files_that_become_readable_are_trained_on(mixed: Path, call: Callable[..., Outcome]) -> None:
    figures = []
    with pytest.MonkeyPatch.context() as without_library:
        without_library.setitem(sys.modules, "pyarrow.parquet", None)
        figures.append(gptsmith.pretrain([mixed], out="first", settings=STEPS))
        data, texts, files = trained_on("first")
        assert list(data["skipped"]) == [str(mixed / "t.parquet")]
        assert "pyarrow" in data["skipped"][str(mixed / "t.parquet")]
        assert (data["num_files"], len(files), "Zanzibar" in texts[0]) == (3, 3, False)
    figures.append(gptsmith.pretrain([mixed], out="second", settings=STEPS))
    data, texts, files = trained_on("second")
    assert not data["skipped"]
    assert data["num_files"] == len(data["files"]) == len(files) == 4
    assert "Zanzibar" in texts[0]
    assert data["train"]["num_bytes"] > json.loads(Path("first/data.json").read_text())["train"]["num_bytes"]
    assert "4 files, 43 documents" in Path("second/report.html").read_text(encoding="utf-8")
    prompts = first_prompts(gptsmith.load("second").run)
    assert any("Zanzibar" in prompt for prompt in prompts)
    # The same in the other direction: what is said of the first run is still true of the first run.
    with pytest.MonkeyPatch.context() as without_library:
        without_library.setitem(sys.modules, "pyarrow.parquet", None)
        stream, _ = validation_text(gptsmith.load("first").run)
        assert stream.num_bytes == Run.open("first").data()["validation"]["num_bytes"]
    with pytest.raises(UserError, match=r"has changed since it was trained on \(new: .*t\.parquet\)"):
        validation_text(gptsmith.load("first").run)


def test_a_run_that_began_without_a_library_says_which_files_it_would_have_now(
    mixed: Path, call: Callable[..., Outcome]
) -> None:
    with pytest.MonkeyPatch.context() as without_library:
        without_library.setitem(sys.modules, "pyarrow.parquet", None)
        gptsmith.pretrain([mixed], out="first", settings=STEPS)
    outcome = call("pretrain", "--resume", "first", "--tokens", 10_000)
    assert outcome.code == 2
    assert f"(new: {mixed / 't.parquet'})" in outcome.err


def test_a_summary_of_an_older_version_is_compared_by_files_and_figures(
    mixed: Path, call: Callable[..., Outcome]
) -> None:
    gptsmith.pretrain([mixed], out="first", settings=STEPS)
    path = Path("first/data.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["corpus_sha256"]
    path.write_text(json.dumps({**data, "fingerprint": "of the files and settings"}), encoding="utf-8")
    assert validation_text(gptsmith.load("first").run)[0].num_bytes == data["validation"]["num_bytes"]
    (mixed / "part0.txt").write_text("Something else. " * 900, encoding="utf-8")
    with pytest.raises(UserError, match=r"has changed since it was trained on \(changed: .*part0\.txt\)"):
        validation_text(gptsmith.load("first").run)
