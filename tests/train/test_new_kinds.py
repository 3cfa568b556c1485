"""An objective and a reader are one file each: nothing else is touched."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.data import readers
from gptsmith.data.examples import read_examples, read_shape
from gptsmith.train import objectives
from tests.dropped_kind import dropped_kind
from tests.train.contracts import Case, check_accumulation, check_counts, example_case, tiny_encoder
from tests.workflows.conftest import FLOAT32, SMALL, call, write_text  # noqa: F401  (a fixture)

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def new_kinds() -> Iterator[None]:
    with ExitStack() as dropped:
        dropped.enter_context(dropped_kind(objectives.__name__, TESTS / "train" / "new_kinds" / "hinge.py"))
        dropped.enter_context(dropped_kind(readers.__name__, TESTS / "data" / "new_kinds" / "paragraphs.py"))
        yield


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.paragraphs"
    records = [f"prompt: {n}?\nchosen: steel\nrejected: iron\n" for n in range(60)]
    path.write_text("\n".join(records), encoding="utf-8")
    return path


@pytest.mark.parametrize("check", [check_accumulation, check_counts])
def test_a_new_objective_keeps_the_contract(check: Callable[[Case], None]) -> None:
    check(example_case(tiny_encoder(), "hinge"))
    assert objectives.objectives_for("preference") == ["dpo", "hinge", "reward_model", "simpo"]


def test_a_new_reader_gives_records_and_documents(pairs: Path) -> None:
    assert read_shape([pairs]) == "preference"
    examples = read_examples([pairs], "preference").examples
    assert len(examples) == 60
    assert examples[0].place == f"{pairs}, byte 0"
    reader = readers.KINDS.validate("paragraphs")
    file = readers.SourceFile(pairs, ".paragraphs")
    settings = readers.ReadSettings(text_field="chosen")
    assert [chunk.text for chunk in reader.read(file, settings)] == ["steel"] * 60


def test_fine_tuning_with_a_new_objective_on_a_new_format_lowers_its_loss(
    pairs: Path,
    tmp_path: Path,
    call: Callable[..., Any],  # noqa: F811
) -> None:
    text = write_text(tmp_path / "smiths", 1)
    shape = [*SMALL, "model.context_length=64", "train.num_steps=1", "train.sample_every_steps=9"]
    base = gptsmith.pretrain([text], out=tmp_path / "base", settings=shape)["run"]
    settings = [FLOAT32, "train.batch_size=8", "train.objective.margin=5", "train.optimizer.learning_rate=1e-3"]
    chosen = [part for setting in settings for part in ("--set", setting)]
    done = call("finetune", base, pairs, "--objective", "hinge", *chosen, "--json")
    assert done.code == 0, done.err
    assert f"next: gptsmith generate {done.object['run']}" in " ".join(done.err.split())
    assert done.object["run"] == f"{base}-hinge"
    log = (Path(done.object["run"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [row["validation_loss"] for row in map(json.loads, log) if row["event"] == "evaluation"]
    assert losses[-1] < 0.8 * losses[0]
    refused = call("finetune", base, pairs, "--objective", "hinges")
    assert refused.code == 2
    assert "did you mean hinge?" in refused.err


def test_the_docs_of_settings_have_a_new_objective() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", TESTS.parent / "docs" / "make_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.page()
    assert "### `train.objective.kind = hinge`" in page
    assert "By how many nats the chosen completion should be likelier." in page
