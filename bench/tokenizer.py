"""Speed of training and encoding, ours against Hugging Face's `tokenizers` and tiktoken, in one run.

    python bench/tokenizer.py [--text FILE_OR_FOLDER] [--rounds 5]

The contenders take turns; the ratio of each round is what counts. All encode the same texts on the same threads and
give the same ids, which is checked. Ours proves that tiktoken gives the backend's ids before it uses it: that is done
once a process and is timed apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import tiktoken
from tokenizers import trainers

from gptsmith.text.fast_encoding import _ranks_of
from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer, byte_letters
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings, byte_level_backend
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
VOCAB_SIZE = 4096


def read(path: Path) -> list[str]:
    """The stories of a text: paragraph blocks."""
    if path.is_dir():
        return [story for file in sorted(path.glob("*.txt")) for story in read(file)]
    return [story for story in path.read_text(encoding="utf-8").split("\n\n") if story]


def race(title: str, contenders: dict[str, Callable[[], object]], num_bytes: int, rounds: int) -> None:
    """Prints each contender's median rate, and the median over rounds of how many times as fast the first one is."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    first = next(iter(seconds.values()))
    print(title)
    for name, times in seconds.items():
        ratio = statistics.median(other / own for other, own in zip(times, first, strict=True))
        rate = num_bytes / statistics.median(times) / 1e6
        print(f"  {name:12} {rate:6.1f} MB/s   gptsmith is {ratio:.2f} times as fast")


def race_encoding(title: str, tokenizer: Tokenizer, split: str, texts: list[str], rounds: int) -> None:
    started = time.perf_counter()
    encoder = tokenizer.fast_encoder
    print(f"\nproof and set-up of the fast path: {time.perf_counter() - started:.2f} s ({encoder.__qualname__})")
    bare = tiktoken.Encoding("bare", pat_str=split, mergeable_ranks=_ranks_of(tokenizer) or {}, special_tokens={})
    ours = [ids.tolist() for ids in tokenizer.encode_batch(texts)]
    theirs = [encoding.ids for encoding in tokenizer.backend.encode_batch(texts, add_special_tokens=False)]
    assert ours == theirs == bare.encode_ordinary_batch(texts, num_threads=2)
    race(
        title,
        {
            "gptsmith": lambda: list(tokenizer.encode_batch(texts)),
            "tokenizers": lambda: tokenizer.backend.encode_batch(texts, add_special_tokens=False),
            "tiktoken": lambda: bare.encode_ordinary_batch(texts, num_threads=2),
        },
        sum(len(text.encode()) for text in texts),
        rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, default=SHARED / "news")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    path = arguments.text if arguments.text.exists() else Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py")
    texts = read(path)
    num_bytes = sum(len(text.encode()) for text in texts)
    print(f"{path}: {len(texts):,} texts, {num_bytes / 1e6:.1f} MB, Python {sys.version.split()[0]}")

    def bare_training() -> None:
        letters = list(byte_letters().values())
        size = VOCAB_SIZE - len(SPECIAL_TOKENS)
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters, show_progress=False)
        byte_level_backend().train_from_iterator(texts, trainer)

    settings = BPETokenizerSettings(vocab_size=VOCAB_SIZE)
    trainings = {"gptsmith": lambda: settings.train(lambda: texts, num_bytes), "tokenizers": bare_training}
    race(f"training {VOCAB_SIZE:,} words (ours trains by tokenizers)", trainings, num_bytes, 2)
    own = settings.train(lambda: texts, num_bytes)
    race_encoding("encoding, our own merges", own, QWEN2_SPLIT, texts, arguments.rounds)
    if (SHARED / "gpt2_tokenizer").exists():
        gpt2 = HuggingFaceTokenizerSettings(path=str(SHARED / "gpt2_tokenizer")).train(list, 0)
        race_encoding("encoding, GPT-2's merges", gpt2, GPT2_SPLIT, texts, arguments.rounds)


if __name__ == "__main__":
    main()
