"""How many marks improve a model, with a known answer: a person likes answers that end with a question mark.

    python bench/improve.py --seeds 4

A small model asks back every second time. The person marks some of its answers, it learns by the studio's recipe from
the prompts that are not held back, and both models answer the others 200 times. The person judges pairs until there is
a verdict. With `--random`, marks and judgements are the toss of a coin.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gptsmith
from gptsmith.convert.load import load
from gptsmith.evaluate.anytime import PairedPreference
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.serve.studio.improve.recipe import recipe

THINGS = "nail sword plough hook ring gate chain knife bell key hammer hinge spoon pot axe lock".split()  # noqa: SIM905
PEOPLE = "smith weaver baker miller mason cooper tanner potter".split()  # noqa: SIM905
PROMPTS = [f"A {thing} from the {person}, please." for thing in THINGS for person in PEOPLE]
SHAPE = ["train.dtype=float32", "model.embed_dim=64", "model.num_layers=2", "model.context_length=64",
         "tokenizer.vocab_size=300", "train.batch_size=8"]  # fmt: skip
NUM_JUDGED = 200
Person = Callable[[str], bool]


def likes(answer: str) -> bool:
    """Whether an answer ends with a question mark."""
    return answer.rstrip().endswith("?")


def statement_or_question(prompt: str, chance: random.Random, *, is_question: bool | None = None) -> str:
    """An answer to a prompt; of a sort, if one is wanted."""
    thing, person = prompt.split()[1], prompt.split()[4].strip(",")
    questions = [f"Which {thing} of the {person}?", f"Shall the {person} make a {thing}?"]
    statements = [f"The {person} makes a {thing}.", f"Here is the {thing} of the {person}."]
    return chance.choice(questions if is_question else [*questions, *statements])


def base() -> None:
    """A model that answers so, in the folder `chat`."""
    chance = random.Random(0)
    pairs = [(prompt, statement_or_question(prompt, chance)) for _ in range(20) for prompt in PROMPTS]
    Path("text.txt").write_text("\n\n".join(f"{prompt} {answer}" for prompt, answer in pairs), encoding="utf-8")
    write([{"prompt": prompt, "response": answer} for prompt, answer in pairs[: 5 * len(PROMPTS)]])
    gptsmith.pretrain(["text.txt"], out="base", settings=[*SHAPE, "train.num_steps=100"])
    gptsmith.finetune("base", ["examples.jsonl"], out="chat", settings=["train.num_steps=150", "train.batch_size=16"])


def write(records: Sequence[dict[str, Any]]) -> None:
    """Records as a file of examples."""
    Path("examples.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def answers(folder: str, prompts: Sequence[str], first_seed: int) -> list[str]:
    """An answer of a model to each prompt."""
    model = load(folder, device="cpu")
    assert model.template is not None
    ids = [model.template.prompt_ids(model.tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts]
    seeds = range(first_seed, first_seed + len(prompts))
    found = generate_batch(
        model.model, model.tokenizer, ids, max_tokens=40, sampling=SamplingSettings(), seeds=list(seeds)
    )
    return [completion.text for completion in found]


def marked(objective: str, prompts: Sequence[str], seed: int, person: Person) -> list[dict[str, Any]]:
    """The examples that the marks of a person make."""
    chance, first = random.Random(seed), answers("chat", prompts, 1000 * seed)
    if objective == "kto":
        return [{"prompt": p, "completion": a, "label": person(a)} for p, a in zip(prompts, first, strict=True)]
    if objective == "sft":
        return [
            {"prompt": p, "response": a if likes(a) else statement_or_question(p, chance, is_question=True)}
            for p, a in zip(prompts, first, strict=True)
        ]
    records = []
    for prompt, one, other in zip(prompts, first, answers("chat", prompts, 1000 * seed + 500), strict=True):
        if one != other and (liked := person(one)) != person(other):
            chosen, rejected = (one, other) if liked else (other, one)
            records.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return records


def measure(objective: str, num_marks: int, seed: int, person: Person) -> str:
    """A line about one improvement."""
    prompts = random.Random(seed).sample(PROMPTS, num_marks if objective != "dpo" else min(2 * num_marks, len(PROMPTS)))
    held = prompts[: len(prompts) // 5]
    records = marked(objective, prompts, seed, person)[:num_marks]
    learnt = [record for record in records if record["prompt"] not in held]
    made = recipe(objective, len(learnt), len(learnt), load("chat", device="cpu").config)  # type: ignore[arg-type]
    words = made.arguments()
    settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    write(learnt)
    out = f"{objective}-{num_marks}-{seed}"
    figures = gptsmith.finetune(
        "chat", ["examples.jsonl"], out=out, objective=objective, epochs=made.epochs,
        learning_rate=made.learning_rate, settings=settings,
    )  # fmt: skip
    asked = (held * NUM_JUDGED)[:NUM_JUDGED]
    old, new = answers("chat", asked, 5000), answers(out, asked, 5000)
    judged, verdict, num_pairs = PairedPreference(), "unclear", NUM_JUDGED
    for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
        liked = (False, False) if before == after else (person(before), person(after))
        won, lost = liked[1] > liked[0], liked[0] > liked[1]
        judged = PairedPreference(judged.wins + won, judged.losses + lost, judged.ties + (liked[0] == liked[1]))
        if verdict == "unclear" and judged.verdict != "unclear":
            verdict, num_pairs = judged.verdict, number
    shares = " -> ".join(f"{sum(map(likes, texts)) / NUM_JUDGED:.2f}" for texts in (old, new))
    forgotten = figures["general_bits_per_byte"] / figures["general_bits_per_byte_before"] - 1
    return (
        f"{objective} {num_marks} marks, {len(learnt)} learnt: {shares}, {verdict} after {num_pairs}, "
        f"p of {NUM_JUDGED}: {judged.p:.2g}, bits per byte {forgotten:+.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--marks", type=int, nargs="+", default=[20, 40, 60])
    parser.add_argument("--objectives", nargs="+", default=["kto", "dpo", "sft"])
    parser.add_argument("--random", action="store_true")
    given = parser.parse_args()
    coin = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        base()
        for objective in given.objectives:
            for num_marks in given.marks:
                for seed in range(11, 11 + given.seeds):
                    person = (lambda _: coin.random() < 0.5) if given.random else likes
                    print(measure(objective, num_marks, seed, person), flush=True)


if __name__ == "__main__":
    main()
