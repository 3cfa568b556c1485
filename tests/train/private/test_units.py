"""The units of private training: every token of a document is learnt once, and nothing of its neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.private.units import DocumentUnits, units_of

TEXTS = [f"{number} " * (number % 9 + 1) for number in range(101)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TextDataset:
    path: Path = tmp_path_factory.mktemp("documents") / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    settings = DataSettings(validation_fraction=0.0)
    return TextDataset(prepare([path], settings=settings, tokenizer=BytesTokenizerSettings(), seed=1), 8, 1)


def test_a_document_is_learnt_once_in_windows_of_its_own(dataset: TextDataset) -> None:
    units = units_of(dataset, max_unit_tokens=1000)
    tokenizer = dataset.data.tokenizer
    found = []
    for number in range(units.num_samples):
        batches = units.unit(number)
        assert all(batch.input_ids.shape == batch.targets.shape and batch.targets.shape[1] <= 8 for batch in batches)
        assert int(batches[0].input_ids[0, 0]) == tokenizer.eos_token_id  # and no token of the document before
        targets = torch.cat([batch.targets[0] for batch in batches]).tolist()
        assert targets[-1] == tokenizer.eos_token_id
        inputs = torch.cat([batch.input_ids[0] for batch in batches]).tolist()
        assert inputs == [tokenizer.eos_token_id, *targets[:-1]]
        found.append(tokenizer.decode(targets[:-1]))
    assert sorted(found) == sorted(TEXTS)
    assert units.num_tokens_of(0, 101) == pytest.approx(sum(len(text) + 1 for text in TEXTS))


def test_of_a_long_document_the_beginning_is_learnt_and_said(dataset: TextDataset) -> None:
    units = DocumentUnits(dataset, max_tokens=12)
    assert max(sum(batch.num_tokens for batch in units.unit(number)) for number in range(101)) == 12
    assert "only the beginning of each is learnt" in units.description()[-1]
    assert units.description()[-1].startswith(f"{sum(len(text) + 1 > 12 for text in TEXTS)} documents")


def test_too_few_documents_are_refused(dataset: TextDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.train.private.units.MIN_UNITS", 102)
    with pytest.raises(UserError, match="at least 102 documents, and there are 101"):
        units_of(dataset, max_unit_tokens=1000)
