"""`--no-recital`: no passage of the training text is written that the prompt does not have, or nothing is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert.open import open_model
from gptsmith.data.cache_contents import contents
from gptsmith.provenance.recital import recital_guard
from tests.workflows.conftest import Outcome

NUM_TOKENS = 5
PROMPT = "The old smith"


def longest_recital(text: Path, prompt: str, written: str) -> int:
    """The bytes of the longest passage of one line of the training text that ends in what was written."""
    lines = {line for file in text.iterdir() for line in file.read_text(encoding="utf-8").splitlines()}
    whole = prompt + written
    ends = range(len(prompt) + 1, len(whole) + 1)
    return max(
        len(passage)
        for end in ends
        for start in range(end)
        if (passage := whole[start:end]) and any(passage in line for line in lines)
    )


def test_a_run_that_knows_its_text_does_not_recite_it(trained: dict[str, Any], text: Path) -> None:
    run = trained["run"]
    options = {"temperature": 0, "max_tokens": 20}
    guard = recital_guard(open_model(run), NUM_TOKENS)
    plain = gptsmith.generate(run, PROMPT, **options)
    guarded = gptsmith.generate(run, PROMPT, no_recital=NUM_TOKENS, **options)
    assert longest_recital(text, PROMPT, plain["text"]) > guard.num_bytes
    assert longest_recital(text, PROMPT, guarded["text"]) < guard.num_bytes
    talk = gptsmith.chat(run, no_recital=NUM_TOKENS, **options)
    assert talk.say(PROMPT) == guarded["text"]
    loaded = gptsmith.load(run, no_recital=NUM_TOKENS)
    assert loaded.generate(PROMPT, **options) == loaded.batch([PROMPT], **options)[0] == guarded["text"]
    with loaded.ablate("blocks.0.attention.heads.0") as ablated:
        assert longest_recital(text, PROMPT, ablated.generate(PROMPT, **options)) < guard.num_bytes
    assert gptsmith.generate(run, PROMPT, no_recital=500, **options)["text"] == plain["text"]


def test_the_limit_in_bytes_is_that_of_so_many_tokens_of_the_text(trained: dict[str, Any], text: Path) -> None:
    guard = recital_guard(open_model(trained["run"]), 10)
    sample = next(text.iterdir()).read_text(encoding="utf-8")
    num_tokens = len(gptsmith.load(trained["run"]).tokenizer.encode(sample))
    assert guard.num_bytes == pytest.approx(10 * len(sample.encode()) / num_tokens, rel=0.05)


def test_without_the_text_nothing_is_written(
    trained: dict[str, Any], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    run = shutil.copytree(trained["run"], tmp_path / "run")
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    moved = text.rename(text.with_name("moved"))
    try:
        for verb, *more in (("generate", PROMPT), ("chat",), ("serve", "--port", 0)):
            outcome = call(verb, run, *more, "--no-recital", 15)
            assert outcome.code == 2
            assert "the text of" in outcome.err
            assert "leave --no-recital out" in outcome.err
            assert not outcome.out
    finally:
        moved.rename(text)
    assert not [each for each in contents(tmp_path / "cache") if each.kind == "suffix_arrays"]


def test_a_base_from_elsewhere_cannot_be_guarded(tmp_path: Path) -> None:
    imported = 'format_version = 2\nmade_by = "import"\n[request]\nfolder = "models/theirs"\n'
    (tmp_path / "run.toml").write_text(imported, encoding="utf-8")
    with pytest.raises(UserError, match=r"models/theirs was trained elsewhere.*leave --no-recital out"):
        recital_guard(open_model(tmp_path), 15)


@pytest.mark.parametrize("number", [1, 0, -3])
def test_a_limit_that_would_bar_everything_is_refused(number: int, trained: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no_recital"):
        gptsmith.generate(trained["run"], PROMPT, no_recital=number)
    with pytest.raises(UserError, match="no_recital"):
        gptsmith.load(trained["run"], no_recital=number)
