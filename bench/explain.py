"""Whether leave-one-out finds what matters, and how long it takes.

    python bench/explain.py runs/mine held_out.txt [--contexts 24] [--tokens 40] [--long 200]

Contexts are pieces of a text that the model has not learnt from; the question is why its most probable next token and
not the runner-up. Above random: by how many nats the difference falls when the tokens with the largest changes go (1,
2, 4 and 8 of them), less by how much it falls for as many at random; the mean over contexts, with a bootstrap interval.
Verdicts: of the claims about those tokens; and the share of claims that hold of those that name a token at random, with
an interval. Time: all that `explain` does by default for one context of `--long` tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gptsmith
from gptsmith.evaluate.statistics import wilson_interval
from gptsmith.explain.claim import HOLDS
from gptsmith.explain.methods.alternatives import AlternativesSettings
from gptsmith.explain.methods.leave_one_out import LeaveOneOutSettings
from gptsmith.explain.own_text import own_text
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import LEAST_DIFFERENCE, Question
from gptsmith.explain.testing import try_parts
from gptsmith.explain.units import Unit
from gptsmith.generate.inference_model import inference_model

NUM_REMOVED = (1, 2, 4, 8)
NUM_RANDOM = 10
NUM_TRIALS = 200


def questions(loaded: gptsmith.Loaded, text: str, count: int, length: int, seed: int) -> Iterator[Question]:
    """Questions about pieces of a text of `length` tokens, from evenly spread places."""
    model, tokenizer = inference_model(loaded.model), loaded.tokenizer
    ids = tokenizer.encode(text[:2_000_000])
    other = own_text(loaded.model, tokenizer, seed=seed)
    for start in np.linspace(0, len(ids) - length - 1, count).astype(int):
        prompt = Prompt.of_text(tokenizer, tokenizer.decode(ids[start : start + length]).replace("\ufffd", ""))
        asked = Question(model, tokenizer, prompt, 0, 0, held_out_ids=other, seed=seed)
        best, *others = asked.logits.topk(32).indices.tolist()
        asked = Question(model, tokenizer, prompt, best, best, held_out_ids=other, seed=seed)
        for token in others:
            contrast = asked.compared_with(token)
            if abs(contrast.difference) >= LEAST_DIFFERENCE:
                yield contrast
                break


def above_random(question: Question, generator: np.random.Generator) -> dict[str, float]:
    """How much further the difference falls without the most important tokens than without random ones: removed, and
    replaced."""
    units = question.units("tokens")
    changes = question.difference - question.differences(question.without([unit]) for unit in units).numpy()
    order = np.argsort(-changes)
    choices: list[list[Unit]] = []
    for number in NUM_REMOVED:
        choices.append([units[place] for place in order[:number]])
        for _ in range(NUM_RANDOM):
            choices.append([units[place] for place in generator.choice(len(units), number, replace=False)])
    draw = torch.Generator().manual_seed(question.seed)
    removed = question.differences(question.without(choice) for choice in choices)
    replaced = question.differences(question.replaced(choice, draw) for choice in choices)
    return {"removed": _gain(question, removed), "replaced": _gain(question, replaced)}


def random_scores_hold(question: Question, generator: np.random.Generator) -> int:
    """How many of NUM_TRIALS claims that name a token at random hold."""
    units, draw = question.units("tokens"), torch.Generator().manual_seed(question.seed)
    after = {
        "remove": question.differences(question.without([unit]) for unit in units).tolist(),
        "replace": question.differences(question.replaced([unit], draw) for unit in units).tolist(),
    }
    measures = {how: partial(_falls, question.difference, known) for how, known in after.items()}
    named = generator.integers(len(units), size=NUM_TRIALS).tolist()
    outcomes = [
        try_parts(measures, len(units), [number], noun="tokens", seed=trial) for trial, number in enumerate(named)
    ]
    return sum(outcome.verdict == HOLDS for outcome in outcomes)


def _falls(difference: float, after: Sequence[float], choices: Sequence[tuple[int, ...]]) -> list[float]:
    return [difference - after[number] for (number,) in choices]


def _gain(question: Question, after: torch.Tensor) -> float:
    falls = (question.difference - after).reshape(len(NUM_REMOVED), 1 + NUM_RANDOM)
    return float((falls[:, 0] - falls[:, 1:].mean(dim=1)).mean())


def interval(values: Sequence[float], generator: np.random.Generator) -> list[float]:
    """The mean, and a 95 % bootstrap interval of it."""
    means = generator.choice(values, (10_000, len(values))).mean(axis=1)
    return [round(float(value), 2) for value in (np.mean(values), *np.quantile(means, [0.025, 0.975]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("text", type=Path)
    parser.add_argument("--contexts", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--long", type=int, default=200)
    options = parser.parse_args()
    loaded, generator = gptsmith.load(options.run), np.random.default_rng(0)
    text = options.text.read_text(encoding="utf-8", errors="replace")
    long = next(questions(loaded, text, 1, min(options.long, loaded.config.context_length - 1), 0))
    started = time.perf_counter()
    claims = [*AlternativesSettings().explain(long), *LeaveOneOutSettings().explain(long)]
    looked_at = {claim.by: len(claim.items) for claim in claims if claim.by}
    words = len(long.units())
    show({"tokens": len(long.ids), "words": words, "looked_at": looked_at, "seconds": seconds_since(started)})
    started = time.perf_counter()
    asked = list(questions(loaded, text, options.contexts, options.tokens, 0))
    gains = [above_random(each, generator) for each in asked]
    figures = {how: interval([gain[how] for gain in gains], generator) for how in ("removed", "replaced")}
    show({"nats_above_random": figures, "contexts": len(asked), "seconds": seconds_since(started)})
    started = time.perf_counter()
    verdicts = Counter(LeaveOneOutSettings(by="tokens").explain(each)[0].verdict for each in asked)
    show({"verdicts": verdicts, "seconds": seconds_since(started)})
    held, trials = sum(random_scores_hold(each, generator) for each in asked), NUM_TRIALS * len(asked)
    show({"random_scores_hold": [held / trials, *wilson_interval(held, trials)], "trials": trials})


def seconds_since(started: float) -> float:
    return round(time.perf_counter() - started, 1)


def show(figures: Mapping[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
