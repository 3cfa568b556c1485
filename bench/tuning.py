"""What fine-tuning gives on real data, from bases that are trained here in minutes; every figure on held-out data.

python bench/tuning.py polarity      a classifier of sentences against TF-IDF with logistic regression, same split
python bench/tuning.py gsm8k         answers to school mathematics: loss, whether they stop, their form
python bench/tuning.py arithmetic    sums in words: SFT, then GRPO
python bench/tuning.py preference    DPO, SimPO and a reward model on held-out pairs
python bench/tuning.py distillation  a student with a teacher and alone, on as many tokens

--base RUN      takes that base instead of training one
--out FOLDER    keeps the runs
--set KEY=VALUE changes a setting of the tuning

Bases are trained on a number of tokens and not for a time, so that the figures do not depend on the machine's speed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gptsmith
from gptsmith.evaluate.scorers.number import final_number
from gptsmith.evaluate.statistics import paired_proportions, wilson_interval
from gptsmith.evaluate.tasks.arithmetic import write_sums
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings

SURELY = SamplingSettings(temperature=0)
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def based(arguments: argparse.Namespace, texts: list[Path], tokens: int, settings: list[str]) -> str:
    """The base run: the one that was named, or one trained now."""
    if arguments.base:
        return str(arguments.base)
    figures = gptsmith.pretrain(texts, out=arguments.out / "base", tokens=tokens, settings=settings)
    print(f"base: {figures['bits_per_byte']:.3f} bits per byte after {figures['seconds']:.0f} s", flush=True)
    return str(figures["run"])


def share(right: int, count: int) -> str:
    low, high = wilson_interval(right, count)
    return f"{right / count:.1%} ({low:.1%} to {high:.1%}, {right:,} of {count:,})"


def polarity(arguments: argparse.Namespace) -> None:
    """A classifier of sentences."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = records(SHARED / "sentence_polarity.jsonl")
    random.Random(1).shuffle(rows)
    test, validation, train = rows[:1000], rows[1000:2000], rows[2000:]
    splits = {"train": train, "validation": validation, "test": test}
    files = {name: written(arguments.out / f"polarity-{name}.jsonl", part) for name, part in splits.items()}
    base = based(arguments, [SHARED / "movie_reviews.jsonl", files["train"]], POLARITY_TOKENS, POLARITY_BASE)
    figures = gptsmith.finetune(
        base, [files["train"]], validation=[files["validation"]], test=[files["test"]], out=arguments.out / "polarity",
        epochs=POLARITY_EPOCHS, settings=[*POLARITY, *arguments.set],
    )  # fmt: skip
    predicted = [row["predicted"] for row in gptsmith.predict(figures["run"], [files["test"]])]
    ours = [said == row["label"] for said, row in zip(predicted, test, strict=True)]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    plain = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    plain.fit([row["text"] for row in train], [row["label"] for row in train])
    theirs = [bool(x) for x in plain.predict([row["text"] for row in test]) == [row["label"] for row in test]]
    print(f"gptsmith                       {share(sum(ours), len(ours))}")
    print(f"TF-IDF and logistic regression {share(sum(theirs), len(theirs))}")
    print(f"McNemar's exact test: p = {paired_proportions(ours, theirs):.3f}")


POLARITY_TOKENS, POLARITY_EPOCHS = 2_800_000, 5.0
POLARITY_BASE = [
    "tokenizer.vocab_size=8192", "model.context_length=128", "model.embed_dim=192", "model.num_layers=4",
]  # fmt: skip
POLARITY = [
    "train.micro_batch_size=8", "train.objective.auxiliary_weight=0", "train.objective.pooling=mean",
    "train.objective.word_dropout=0.3", "train.objective.chosen_by=accuracy", "model.dropout=0.2",
    "train.optimizer.learning_rate=4e-4", "train.optimizer.embedding_lr_multiplier=100",
    "train.evaluation_tokens=1000000",
]  # fmt: skip


def replies(
    run: str, questions: list[str], max_tokens: int, sampling: SamplingSettings = SURELY
) -> list[tuple[str, bool]]:
    """A reply to each question, and whether it came to an end by itself."""
    model = gptsmith.load(run)
    assert model.template is not None
    prompts = [model.template.prompt_ids(model.tokenizer, [{"role": "user", "content": q}]) for q in questions]
    completions = generate_batch(
        model.model, model.tokenizer, prompts,
        max_tokens=max_tokens, sampling=sampling, seeds=list(range(len(prompts))),
    )  # fmt: skip
    return [(each.text, each.finish_reason == "stop") for each in completions]


def mathematics(arguments: argparse.Namespace) -> tuple[str, Path, Path, Path]:
    """A base that has read questions with their answers, and the files of the three splits: the last two it has never
    read."""
    rows = records(SHARED / "gsm8k_train.jsonl")
    train = written(arguments.out / "gsm8k-train.jsonl", rows[:-500])
    validation = written(arguments.out / "gsm8k-validation.jsonl", rows[-500:])
    text = [{"text": f"{row['question']}\n{row['answer']}"} for row in rows[:-500]]
    base = based(arguments, [written(arguments.out / "gsm8k-text.jsonl", text)], GSM8K_TOKENS, GSM8K_BASE)
    return base, train, validation, SHARED / "gsm8k_test.jsonl"


def gsm8k(arguments: argparse.Namespace) -> None:
    """Answers to school mathematics."""
    base, train, validation, test = mathematics(arguments)
    options: dict[str, Any] = {"validation": [validation], "test": [test], "skip_bad": True}
    untuned = gptsmith.finetune(
        base, [train], **options, out=arguments.out / "untuned",
        settings=["train.num_steps=1", "train.optimizer.learning_rate=1e-9"],
    )  # fmt: skip
    tuned = gptsmith.finetune(
        base, [train], **options, out=arguments.out / "gsm8k", epochs=GSM8K_EPOCHS, settings=[*GSM8K, *arguments.set]
    )
    print(f"loss on the test answers: {untuned['test_loss']:.3f} before, {tuned['test_loss']:.3f} after")
    questions = [row["question"] for row in records(test)][: arguments.limit]
    said = replies(tuned["run"], questions, GSM8K_CONTEXT, SamplingSettings())  # sampled as `gptsmith chat` samples
    print(f"replies that stop: {share(sum(stops for _, stops in said), len(said))}")
    formed = sum("\n#### " in text and final_number(text) is not None for text, _ in said)
    print(f"replies that end as '#### number': {share(formed, len(said))}")
    right = sum(
        final_number(text) == final_number(row["answer"]) for (text, _), row in zip(said, records(test), strict=False)
    )
    print(f"right numbers: {share(right, len(said))}")


GSM8K_TOKENS, GSM8K_EPOCHS, GSM8K_CONTEXT = 1_000_000, 3.0, 512
GSM8K = ["train.optimizer.learning_rate=1e-3"]
GSM8K_BASE = [f"model.context_length={GSM8K_CONTEXT}", "model.embed_dim=128", "model.num_layers=4"]


def arithmetic(arguments: argparse.Namespace) -> None:
    """Sums in words: SFT, then GRPO."""
    files = {split: arguments.out / f"sums-{split}.jsonl" for split in SUMS}
    for split, count in SUMS.items():
        write_sums(files[split], split, count=count, seed=1)
    base = based(arguments, [files["train"]], SUMS_TOKENS, SUMS_BASE)
    tuned = gptsmith.finetune(
        base, [files["train"]], validation=[files["validation"]], test=[files["test"]], out=arguments.out / "sums",
        epochs=SUMS_EPOCHS, settings=["train.optimizer.embedding_lr_multiplier=1", *arguments.set],
    )  # fmt: skip
    rewarded = gptsmith.finetune(
        tuned["run"], [files["train"]], validation=[files["validation"]], test=[files["test"]], objective="grpo",
        out=arguments.out / "sums-grpo", settings=[*GRPO, *arguments.grpo_set],
    )  # fmt: skip
    rows = records(files["test"])
    right = {}
    for name, run in (("tuned", tuned["run"]), ("with rewards", rewarded["run"])):
        said = replies(run, [row["question"] for row in rows], max_tokens=12)
        right[name] = [text.strip() == row["answer"] for (text, _), row in zip(said, rows, strict=True)]
        print(f"{name:14} {share(sum(right[name]), len(rows))}", flush=True)
    print(f"McNemar's exact test: p = {paired_proportions(*right.values()):.2g}")


SUMS = {"train": 20_000, "validation": 500, "test": 1_000}
SUMS_TOKENS, SUMS_EPOCHS = 1_000_000, 1.0
"""One epoch leaves something for rewards to gain."""
SUMS_BASE = ["model.context_length=64", "model.embed_dim=128", "model.num_layers=4"]
GRPO = ["train.objective.reward=exact", "train.objective.max_tokens=8", "train.objective.group_size=16"]
GRPO += ["train.objective.max_resamples=1", "train.objective.kl_coef=0", "train.num_steps=140", "train.batch_size=32"]
GRPO += ["train.micro_batch_size=4", "train.optimizer.learning_rate=1.5e-4", "train.optimizer.beta1=0.97"]
GRPO += [
    "train.optimizer.embedding_lr_multiplier=1",
    "train.schedule.warmup_steps=25",
    "train.evaluate_every_steps=20",
]


def preference(arguments: argparse.Namespace) -> None:
    """The right answer against that of another question, on held-out pairs."""
    base, *files = mathematics(arguments)
    train, validation, test = (
        written(arguments.out / f"pairs-{file.name}", pairs(records(file))[:most])
        for file, most in zip(files, PAIRS, strict=True)
    )
    for objective in ("dpo", "simpo", "reward_model"):
        figures = gptsmith.finetune(
            base, [train], validation=[validation], test=[test], objective=objective, skip_bad=True,
            out=arguments.out / objective, settings=arguments.set,
        )  # fmt: skip
        count = figures["num_test_examples"]
        right = round(figures["test_accuracy"] * count)
        print(f"{objective:12} prefers the chosen one: {share(right, count)}", flush=True)


def pairs(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The right answer to each question, and that to the next question, which is rejected."""
    return [
        {"prompt": row["question"], "chosen": row["answer"], "rejected": other["answer"]}
        for row, other in zip(rows, [*rows[1:], rows[0]], strict=True)
    ]


PAIRS = (1_000, 200, 800)
"""In the train, validation and test split."""


def distillation(arguments: argparse.Namespace) -> None:
    """A student with a teacher and alone, on as many tokens of the teacher's text."""
    text = SHARED / "news"
    teacher = based(arguments, [text], TEACHER_TOKENS, TEACHER)
    student = gptsmith.pretrain(
        [text], out=arguments.out / "student", tokenizer=teacher, settings=["train.num_steps=1", *STUDENT]
    )["run"]
    same = ["train.num_steps=400", "train.batch_size=8", "train.optimizer.learning_rate=3e-3", *arguments.set]
    alone = gptsmith.finetune(student, [text], out=arguments.out / "alone", settings=same)
    taught = gptsmith.finetune(
        student, [text], objective="distillation", out=arguments.out / "taught",
        settings=[*same, f"train.objective.teacher={teacher}", "train.objective.alpha=0.7"],
    )  # fmt: skip
    for name, figures in (("alone", alone), ("with the teacher", taught)):
        print(f"student {name}: {figures['bits_per_byte']:.4f} bits per byte, {figures['num_tokens']:,} tokens")


TEACHER_TOKENS = 1_200_000
TEACHER = ["model.embed_dim=128", "model.num_layers=4"]
STUDENT = ["model.embed_dim=64", "model.num_layers=2", "model.num_heads=1", "model.head_dim=64"]
TASKS: dict[str, Callable[[argparse.Namespace], None]] = {
    task.__name__: task for task in (polarity, gsm8k, arithmetic, preference, distillation)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int, default=400, help="how many replies are asked for")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--grpo-set", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.task != "arithmetic" and not SHARED.exists():
        sys.exit(f"{SHARED} is not there")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        TASKS[arguments.task](arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.out = Path(folder)
        TASKS[arguments.task](arguments)


if __name__ == "__main__":
    main()
