"""Figures of trace: how fast a text is found in many tokens, and whether the document that it comes from is.

python bench/trace.py speed     indexes real text that is repeated with noise, and traces 500 tokens in it (--tokens)
python bench/trace.py planted   trains a small model on documents, 100 of which state an invented fact; is each found by
                                its words, and by one step of forgetting? (--out FOLDER keeps the run)
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import gptsmith
from gptsmith.convert.load import load
from gptsmith.convert.open import open_model
from gptsmith.data.suffix_array import kept_suffix_array
from gptsmith.evaluate.statistics import wilson_interval
from gptsmith.explain.influence.candidates import find_candidates, random_passages
from gptsmith.explain.influence.forgetting import STEP, ForgettingModel, Target
from gptsmith.explain.testing import compared, verdict_on
from gptsmith.explain.trace.matches import find_matches
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.text.load import load_tokenizer

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
NUM_FACTS = 100
DOCUMENT_CHARACTERS, HELD_OUT_CHARACTERS = 1_500, 200_000
KEPT = 0.9
"""Of the tokens, when text is repeated; the others are drawn anew."""


def speed(arguments: argparse.Namespace) -> None:
    tokenizer = load_tokenizer(SHARED / "gpt2_tokenizer")
    texts = [path.read_text(encoding="utf-8") for path in sorted((SHARED / "news").glob("*.txt"))]
    real = np.concatenate([*tokenizer.encode_batch(texts)]).astype("<u2")
    generator = np.random.Generator(np.random.PCG64(1))
    tokens = np.resize(real, arguments.tokens)
    for start in range(0, len(tokens), 1 << 22):
        part = tokens[start : start + (1 << 22)]
        is_noise = generator.random(len(part)) > KEPT
        part[is_noise] = generator.choice(real, int(is_noise.sum()))
    tokens[1_000::1_000] = tokenizer.eos_token_id
    with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        target = Path(folder) / "index"
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        array = kept_suffix_array(target, lambda _: tokens, tokenizer.eos_token_id, "bench")
        seconds = time.perf_counter() - started
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        kept = sum(path.stat().st_size for path in target.iterdir())
        print(
            f"{len(tokens):,} tokens indexed in {seconds:.1f} s, {len(tokens) / seconds:,.0f} tokens/s; "
            f"{kept / len(tokens):.2f} bytes/token kept, {peak / len(tokens):.1f} more at the peak"
        )
        for name, found in (("real", real[70_000:70_500]), ("learnt", tokens[len(tokens) // 2 :][:500])):
            times = []
            for _ in range(5):
                started = time.perf_counter()
                matches = find_matches([array], found, 8)
                times.append(time.perf_counter() - started)
            print(
                f"500 tokens of {name} text: {len(matches)} passages, first {times[0]:.3f} s, then {min(times):.3f} s"
            )


def facts(chance: random.Random) -> list[tuple[str, str]]:
    """Invented facts, each the beginning of a sentence and its end; no name is in two of them."""
    syllables = [
        "mar",
        "row",
        "gal",
        "ben",
        "tor",
        "lis",
        "ven",
        "dra",
        "quil",
        "osk",
        "han",
        "fel",
        "rud",
        "wyn",
        "zo",
    ]
    names = list(dict.fromkeys("".join(chance.sample(syllables, 3)).capitalize() for _ in range(2_000)))
    things = ["anvil", "lantern", "bridge", "violin", "orchard", "barge", "kettle", "mill", "tower", "clock"]
    return [
        (f"The {chance.choice(things)} of {names[3 * n]} belongs to", f" {names[3 * n + 1]} {names[3 * n + 2]}.")
        for n in range(NUM_FACTS)
    ]


def planted(arguments: argparse.Namespace) -> None:
    chance = random.Random(1)
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((SHARED / "news").glob("*.txt")))
    size = DOCUMENT_CHARACTERS
    text, held_out = text[:-HELD_OUT_CHARACTERS], text[-HELD_OUT_CHARACTERS:]
    documents = [text[start : start + size] for start in range(0, len(text) - size, size)]
    told = facts(chance)
    owners = chance.sample(range(len(documents)), NUM_FACTS)
    for owner, (question, answer) in zip(owners, told, strict=True):
        at = documents[owner].find(" ", chance.randrange(200, size - 300))
        documents[owner] = f"{documents[owner][:at]} {question}{answer}{documents[owner][at:]}"
    data, run = arguments.out / "documents.jsonl", arguments.out / "run"
    data.write_text("".join(json.dumps({"text": each}) + "\n" for each in documents), encoding="utf-8")
    if not run.exists():
        shape = ["model.embed_dim=128", "model.num_layers=4", "model.context_length=256", "train.dtype=float32"]
        validation = arguments.out / "held_out.txt"
        validation.write_text(held_out, encoding="utf-8")
        trained = gptsmith.pretrain([data], validation=[validation], out=run, tokens=arguments.tokens, settings=shape)
        print(f"trained in {trained['seconds']:.0f} s, {trained['validation_loss']:.2f} nats per token", flush=True)
    tracer, loaded = Tracer.of(open_model(run)), load(run)
    tokenizer, texts = loaded.tokenizer, tracer.learned.texts
    encoded = [(tokenizer.encode(question), tokenizer.encode(answer)) for question, answer in told]
    best = [find_candidates(texts, [*question, *answer], 1)[0] for question, answer in encoded]
    documents = [tokenizer.decode(texts[0].tokens_of(texts[0].document_at(each.place)).tolist()) for each in best]
    by_words = sum(f"{question}{answer}" in found for found, (question, answer) in zip(documents, told, strict=True))
    generator, begin = np.random.Generator(np.random.PCG64(2)), (tokenizer.eos_token_id,)
    holds = first_of_facts = 0
    drops, others, alike, seconds = [], [], [], []
    for number, (question, answer) in enumerate(encoded):
        started = time.perf_counter()
        model = ForgettingModel(loaded.model, Target((*begin, *question), tuple(answer)), step=arguments.step)
        drop = model.drop(begin, best[number].ids)
        random_drops = [model.drop(begin, each.ids) for each in random_passages(texts, [best[number]], 20, generator)]
        seconds.append(time.perf_counter() - started)
        holds += verdict_on([compared("forget", 1, [drop, *random_drops])]) == "holds"
        other_facts = [best[(number + step) % NUM_FACTS] for step in range(1, 21)]
        of_facts = [model.drop(begin, each.ids) for each in other_facts]
        first_of_facts += drop > max(of_facts)
        drops.append(drop)
        others += random_drops
        alike += of_facts
    low, high = wilson_interval(holds, NUM_FACTS)
    print(
        f"step {arguments.step:g}: of {NUM_FACTS} documents {by_words} are first by words; beside 20 random passages "
        f"the test holds for {holds} ({low:.0%} to {high:.0%}); {first_of_facts} are before 20 with other facts"
    )
    for name, values in (("its own passage", drops), ("random ones", others), ("those with other facts", alike)):
        low, middle, high = np.percentile(values, (2.5, 50, 97.5))
        print(f"the answer falls after forgetting {name} by {middle:.3f} nats (median; 95 %: {low:.2f} to {high:.2f})")
    print(f"{np.median(seconds):.2f} s for each test of 21 steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "planted"])
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--step", type=float, default=STEP)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.out = arguments.out or Path(folder)
        arguments.out.mkdir(parents=True, exist_ok=True)
        if arguments.what == "speed":
            arguments.tokens = arguments.tokens or 20_000_000
            speed(arguments)
        else:
            arguments.tokens = arguments.tokens or 1_000_000
            planted(arguments)


if __name__ == "__main__":
    main()
