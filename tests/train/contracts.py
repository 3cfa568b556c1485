"""What every objective keeps, on a tiny model and a few examples of each shape."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.data.shapes.unpaired_preference import UnpairedPreferenceExample
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import KINDS, ObjectiveSettings
from gptsmith.train.samples import Sample
from gptsmith.train.step import accumulate

CONTEXT = 96
LABELS = ["no", "yes", "perhaps"]


def tiny(num_labels: int | None = None, seed: int = 0, logits_cap: float | None = None) -> GPT:
    """A float64 model all of whose weights are drawn, also those that a new model starts at zero."""
    table = {"vocab_size": 259, "context_length": CONTEXT, "embed_dim": 32, "num_layers": 2, "num_heads": 2}
    table |= {} if logits_cap is None else {"logits_cap": logits_cap}
    model = GPT(preset("smith", **table, head_dim=16, attention={"num_kv_heads": 1}, num_labels=num_labels)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    return model


def tiny_encoder() -> Encoder:
    """One for the models of `tiny`."""
    tokenizer: Tokenizer = BytesTokenizerSettings().train(list, 0)
    return Encoder(tokenizer, ChatTemplate(), CONTEXT)


def talk(question: str, answer: str) -> ChatExample:
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return ChatExample(f"about {question}", turns)


def pair(question: str, chosen: str, rejected: str) -> PreferenceExample:
    return PreferenceExample(f"about {question}", ({"role": "user", "content": question},), chosen, rejected)


TALKS = [talk("a", "one"), talk("bb", "two and two"), talk("c", "3"), talk("dddd", "four, or five")]
PAIRS = [pair("a", "one", "two words"), pair("bb", "three", "4"), pair("c", "x", "yy"), pair("d", "long one", "z")]
UNPAIRED = [
    UnpairedPreferenceExample(f"about {q}", ({"role": "user", "content": q},), completion, is_desirable)
    for q, completion, is_desirable in [
        ("a", "one", True),
        ("bb", "2", False),
        ("c", "three", True),
        ("d", "no", False),
    ]
]
TEXTS = [
    LabelledExample(f"line {n}", "text", (text,), label)
    for n, (text, label) in enumerate([("abc", "yes"), ("d", "no"), ("a longer text", "perhaps"), ("ef", "yes")])
]
CHOICES = [
    LabelledExample("1", "choice", ("2 and 2?", "four", "five"), "0"),
    LabelledExample("2", "choice", ("1 and 1?", "three", "two", "one"), "two"),
    LabelledExample("3", "choice", ("0 and 1?", "one", "none"), "one"),
    LabelledExample("4", "choice", ("3 and 1?", "a", "b", "c", "four"), "3"),
]


def samples_of(objective: ExampleObjective, examples: Sequence[Example], encoder: Encoder) -> list[list[Sample]]:
    return [[objective.sample(example, encoder)] for example in examples]


def with_references(objective: ExampleObjective, rows: list[list[Sample]], model: GPT) -> list[list[Sample]]:
    for (sample,) in rows:
        batch = objective.collate([[sample]])
        with torch.no_grad():
            sample.reference = tuple(sequence_log_likelihoods(model, batch.input_ids, batch.targets).tolist())
    return rows


def log_likelihood(model: GPT, sample: Sample, number: int) -> tuple[float, int]:
    """The log-likelihood of the trained tokens of a sequence, summed one by one, and how many they are."""
    sequence = sample.sequences[number]
    logits = model(torch.tensor([sequence.ids]))[0].log_softmax(dim=-1)
    places = [place for place, trained in enumerate(sequence.trained) if trained]
    return sum(logits[place - 1, sequence.ids[place]].item() for place in places), len(places)


def gradients(model: GPT) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


EXAMPLES: dict[str, Sequence[Example]] = {
    "chat": TALKS, "labelled": TEXTS, "preference": PAIRS, "unpaired_preference": UNPAIRED,
}  # fmt: skip
Case = tuple[ObjectiveSettings, GPT, Callable[[Sequence[int]], list[Batch]]]
"""An objective, a model, and the micro-batches of a step of four samples, of so many samples each."""


def divided(objective: ExampleObjective, rows: Sequence[list[Sample]], sizes: Sequence[int]) -> list[Batch]:
    """Rows as micro-batches of so many rows each."""
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [objective.collate(rows[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def example_case(encoder: Encoder, kind: str, **settings: Any) -> Case:
    """An objective of any kind that learns from examples, on those of the first shape that it learns from."""
    cls = KINDS.settings(kind)
    splits = ExampleSplits([*EXAMPLES[cls.shapes[0]]], [], [])
    objective = cls.for_examples({"kind": kind, **settings}, splits)
    assert isinstance(objective, ExampleObjective)
    key = f"{kind} {settings}"
    dataset = objective.dataset(DatasetInputs(tiny(seed=1), encoder, splits, None, seed=0, cache_key=key))
    rows = [[sample] for row in dataset.train for sample in row]
    model = tiny(num_labels=objective.num_labels)
    return objective, model, lambda sizes: objective.completed(model, divided(objective, rows, sizes))


def check_accumulation(case: Case) -> None:
    """Any division of a step into micro-batches gives the same loss and gradient."""
    objective, one, batches = case
    many = copy.deepcopy(one)
    losses = [accumulate(one, objective, batches([4])), accumulate(many, objective, batches([1, 3]))]
    assert abs(losses[0] - losses[1]) < 1e-12
    assert any(gradient.abs().max() > 1e-6 for gradient in gradients(one))
    for ours, theirs in zip(gradients(one), gradients(many), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def check_counts(case: Case) -> None:
    """The counts are known before the forward pass."""
    objective, model, batches = case
    (batch,) = batches([4])
    assert objective.counts(batch) == {name: term.count for name, term in objective.loss(model, batch).items()}
