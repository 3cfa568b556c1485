"""The recital guard: whether any of 10,000 samples of a model that knows its text by heart recites it, and what a token
costs.

    python bench/recital.py RUN --no-recital 15 --samples 10000 --max-tokens 60

Prompts are the first words of lines of the training text, and none. Each sample is searched for passages of the
training text by a plain search through its bytes, which knows nothing of the guard.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from gptsmith.convert.load import load
from gptsmith.generate.api import generate_batch_with
from gptsmith.generate.engine import Engine
from gptsmith.generate.recital_guard import RecitalGuard
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import BATCH
from gptsmith.provenance.learned_texts import learned_texts
from gptsmith.provenance.recital import recital_guard

TEMPERATURES = (0.0, 0.5, 0.8, 1.0)
NUM_FOLLOWED = 5_000
WORDS_OF_PROMPTS = (0, 1, 3, 6, 12)


def is_recital(text: bytes, prompt: Sequence[bytes], output: Sequence[bytes], guard: RecitalGuard) -> bool:
    """Whether a passage that ends in the output is as long as the guard bars, in the text, and not in the prompt."""
    start, spelled = b"".join(prompt), [each for each in [*prompt, *output] if each]
    whole, num_tokens = b"".join(spelled), len(spelled)
    first = len([each for each in prompt if each])
    tokens = [spelled[end - guard.num_tokens : end] for end in range(max(first + 1, guard.num_tokens), num_tokens + 1)]
    ends = range(max(len(start) + 1, guard.num_bytes), len(whole) + 1)
    passages = [*map(b"".join, tokens), *(whole[end - guard.num_bytes : end] for end in ends)]
    return any(passage in text and passage not in start for passage in passages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--no-recital", type=int, default=15)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--max-tokens", type=int, default=60)
    given = parser.parse_args()
    loaded = load(given.run, device="cpu")
    guard = recital_guard(loaded.run, given.no_recital)
    text = b"".join(each.byte_array.tokens.tobytes() for each in learned_texts(loaded.run).texts)
    tokenizer, chance = loaded.tokenizer, random.Random(1)
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    starts = [
        " ".join(chance.choice(lines).split(" ")[: chance.choice(WORDS_OF_PROMPTS)]) for _ in range(given.samples)
    ]
    prompts = [tokenizer.prompt_ids(start) for start in starts]
    print(guard.description)
    for own in (None, guard):
        engine = Engine(loaded.model, tokenizer, settings=BATCH, recital_guard=own)
        recited = num_tokens = 0
        started = time.perf_counter()
        for number, temperature in enumerate(TEMPERATURES):
            mine = prompts[number :: len(TEMPERATURES)]
            done = generate_batch_with(
                engine, mine, max_tokens=given.max_tokens, sampling=SamplingSettings(temperature=temperature),
                seeds=range(len(mine)),
            )  # fmt: skip
            seconds = time.perf_counter() - started
            for prompt, completion in zip(mine, done, strict=True):
                spelled = [[tokenizer.token_bytes[token] for token in ids] for ids in (prompt, completion.ids)]
                recited += is_recital(text, *spelled, guard)
                num_tokens += len(completion.ids)
            started = time.perf_counter() - seconds
        label = "guarded" if own else "plain"
        print(
            f"{label}: {recited:,} of {len(prompts):,} recite; {num_tokens:,} tokens, {num_tokens / seconds:,.0f} per s"
        )
    learned = learned_texts(loaded.run).texts[0]
    for name, ids in (("text it never saw", learned.held_out_tokens()), ("its own text", learned.array.tokens)):
        print(f"{microseconds(guard, ids[:NUM_FOLLOWED].tolist()):.0f} microseconds a token of {name}")


def microseconds(guard: RecitalGuard, ids: Sequence[int]) -> float:
    """The time that the guard takes to look at what may follow each token, and to read it."""
    follower, started = guard.follow([]), time.perf_counter()
    for token in ids:
        _ = follower.barred
        follower.accept(token)
    return (time.perf_counter() - started) / max(len(ids), 1) * 1e6


if __name__ == "__main__":
    main()
