"""A tiny chat model that asks back every second time, and a person who likes that."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.convert.load import load
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings

from ....workflows.conftest import FLOAT32

THINGS = (
    "nail", "sword", "plough", "hook", "ring", "gate", "chain", "knife", "bell", "key", "hammer", "hinge", "spoon",
    "pot", "axe", "lock",
)  # fmt: skip
PEOPLE = ("smith", "weaver", "baker", "miller", "mason", "cooper", "tanner", "potter")
PROMPTS = [f"A {thing} from the {person}, please." for thing in THINGS for person in PEOPLE]
BASE = [
    FLOAT32, "model.embed_dim=64", "model.num_layers=2", "model.context_length=48", "train.batch_size=8",
    "tokenizer.vocab_size=370", "train.num_steps=1",
]  # fmt: skip
CHAT = [
    "train.num_steps=120", "train.batch_size=16", "train.evaluate_every_steps=120",
    "train.optimizer.learning_rate=5e-3",
]  # fmt: skip


def is_liked(answer: str) -> bool:
    """Whether the person likes an answer: it ends with a question mark."""
    return answer.rstrip().endswith("?")


def _answer(prompt: str, chance: random.Random) -> str:
    thing, person = prompt.split()[1], prompt.split()[4].strip(",")
    return chance.choice(
        [
            f"The {person} makes a {thing}.",
            f"Here is the {thing} of the {person}.",
            f"Which {thing} of the {person}?",
            f"Shall the {person} make a {thing}?",
        ]
    )


@pytest.fixture(scope="session")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of that model."""
    folder, chance = tmp_path_factory.mktemp("asker"), random.Random(0)
    pairs = [(prompt, _answer(prompt, chance)) for _ in range(4) for prompt in PROMPTS]
    (folder / "text.txt").write_text("\n\n".join(f"{prompt} {answer}" for prompt, answer in pairs[: len(PROMPTS)]))
    rows = [json.dumps({"prompt": prompt, "response": answer}) for prompt, answer in pairs]
    (folder / "talk.jsonl").write_text("\n".join(rows))
    gptsmith.pretrain([folder / "text.txt"], out=folder / "base", settings=BASE)
    gptsmith.finetune(folder / "base", [folder / "talk.jsonl"], out=folder / "chat", settings=CHAT)
    return folder / "chat"


def answers(run: Path, prompts: Sequence[str], first_seed: int = 0) -> list[str]:
    """An answer of a model to each prompt."""
    loaded = load(run, device="cpu")
    assert loaded.template is not None
    ids = [
        loaded.template.prompt_ids(loaded.tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts
    ]  # fmt: skip
    seeds = range(first_seed, first_seed + len(prompts))
    sampling = SamplingSettings()
    found = generate_batch(loaded.model, loaded.tokenizer, ids, max_tokens=24, sampling=sampling, seeds=seeds)
    return [completion.text for completion in found]


def thumb(number: int, prompt: str, answer: str, verdict: str, model: str = "chat") -> dict[str, Any]:
    """A mark, as the page sends it."""
    return {
        "id": f"mark-{number}", "kind": "thumb", "verdict": verdict, "at_ms": 1000 + number,
        "prompt": [{"role": "user", "content": prompt}], "answers": [{"model": model, "text": answer}],
    }  # fmt: skip
