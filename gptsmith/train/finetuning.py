"""A task made ready: the base, the examples, the objective, and every setting that was left open."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch

from gptsmith.base.errors import UserError, did_you_mean
from gptsmith.base.files import sha256_of, write_json
from gptsmith.base.settings import merged
from gptsmith.convert.load import Loaded, load
from gptsmith.data.cache import key_of
from gptsmith.data.example_splits import ExampleSplits, split_examples
from gptsmith.data.examples import read_examples, read_shape
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes import TEXT
from gptsmith.data.shapes.labelled import LabelledExample, labels_of
from gptsmith.evaluate.perplexity import score_language
from gptsmith.model.config import GPTConfig
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import begun_from
from gptsmith.run.checkpoint import MANIFEST
from gptsmith.run.folder import DATA, Run
from gptsmith.text.chat_template import ChatTemplate, require_turns
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings
from gptsmith.train.datasets.base import TrainingSet
from gptsmith.train.datasets.distillation import TaughtSet
from gptsmith.train.datasets.examples import ExampleSet
from gptsmith.train.datasets.rollouts import RolloutSet
from gptsmith.train.datasets.text import TextSet
from gptsmith.train.objectives import KINDS, ObjectiveSettings
from gptsmith.train.objectives.distillation import DistillationSettings
from gptsmith.train.objectives.grpo import GrpoSettings
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.rewards import Reward, reward_of
from gptsmith.train.run_settings import ExampleSettings, FinetuneSettings
from gptsmith.train.samples import ROW_TOKENS, Encoder, ExampleObjective
from gptsmith.train.validation_text import validation_text

OBJECTIVES: dict[str, tuple[str, ...]] = {
    "chat": ("sft", "grpo", "distillation"),
    "labelled": ("classification",),
    "preference": ("dpo", "reward_model"),
    TEXT: ("next_token", "distillation"),
}
"""What can be learnt from data of each shape, the usual first."""
EPOCHS = {"sft": 3.0, "classification": 3.0}
"""How often examples are read where nobody says; once where it does not stand here."""
TOKENS_PER_STEP, LEAST_ROWS, MOST_ROWS = 1024, 8, 32
"""A step has about so many tokens, and not fewer or more samples than these."""
LEAST_STEPS = 8
"""Of an epoch of few examples."""
NUM_EVALUATIONS = 10
LEARNING_RATE, LORA_LEARNING_RATE, POLICY_LEARNING_RATE = 5e-4, 3e-3, 1e-5
FORGETTING_TOKENS = 65_536
"""How much of the base's validation text is read to tell what was forgotten."""


@dataclass(frozen=True)
class Task:
    """Everything that a session of learning a task needs."""

    settings: FinetuneSettings
    base: Loaded
    model: GPT
    """The model to begin with."""
    template: ChatTemplate | None
    """How conversations are laid out; nothing where the tuned model is not made for them."""
    samples: TrainingSet
    data: dict[str, Any]
    """What data.json keeps: counts, and a fingerprint of the examples."""

    def keep(self, run: Run) -> None:
        """Writes what a run keeps besides its settings."""
        self.base.tokenizer.save(run.folder)
        write_json(run.folder / DATA, self.data)
        if self.template is not None:
            self.template.save(run.folder)


def task_of(table: dict[str, Any], reward: Reward | None = None, *, judges: bool = True) -> Task:
    """Reads the base and the data, and settles what `table` leaves open.

    Args:
        reward: what answers are worth, instead of what `train.objective.reward` names.
        judges: whether the test examples and the base's own text are scored at the end.

    Raises:
        UserError: the base, an example or a setting cannot be used.
    """
    request = FinetuneRequest.parse(table["request"], "request")
    choices = ExampleSettings.parse(table.get("examples", {}), "examples")
    train_table = table.get("train", {})
    seed = train_table.get("seed", 1)
    base = load(request.base, device="cpu")
    shape = read_shape(request.sources)
    kind = _objective_kind(request, train_table, shape)
    if shape != TEXT and base.template is None and kind != "classification":
        require_turns(base.tokenizer)
    parts = _parts(request, choices, shape, seed)
    objective = _objective(kind, train_table, parts)
    config = _config(table, request, base, objective)
    device = choose_device(train_table.get("device", "auto"))
    model = begun_from(base.model, config, seed=seed).to(device)
    model.compute_dtype = choose_dtype(train_table.get("dtype", "auto"), device)
    template = base.template or ChatTemplate()
    encoder = Encoder(base.tokenizer, template, config.context_length)
    text = _text(table, request, base, seed) if shape == TEXT else None
    samples, judge = _samples(objective, encoder, parts, text, model, reward, choices.skip_bad, seed)
    if isinstance(samples, ExampleSet):
        begun = [sha256_of(base.checkpoint.folder / MANIFEST), base.tokenizer.fingerprint, template.source]
        read = [parts.fingerprint, choices.skip_bad, config.context_length, str(model.compute_dtype)]
        samples.prepare(model, key_of(*begun, *read))
    settings = FinetuneSettings.parse(
        {**table, "model": config.plain(), "train": _train(train_table, request, objective, model, samples)}, "settings"
    )
    if judges:
        samples.judges.append(judge)
        if (forgetting := _forgetting(base, model)) is not None:
            samples.judges.append(forgetting)
    data = _summary(parts) if text is None else {"fingerprint": text.fingerprint, **text.summary}
    converses = base.template is not None or shape in ("chat", "preference")
    return Task(settings, base, model, template if converses else None, samples, data)


def _objective_kind(request: FinetuneRequest, train_table: dict[str, Any], shape: str) -> str:
    """The kind of objective that was asked for, or the usual one for data of this shape.

    Raises:
        UserError: there is none of that name, or it does not learn from such data.
    """
    kind = request.objective or _objective_table(train_table).get("kind") or OBJECTIVES[shape][0]
    if kind not in KINDS.names():
        raise UserError(f"no such objective: {kind} ({did_you_mean(kind, KINDS.names())})")
    if kind not in OBJECTIVES[shape]:
        held = "plain text" if shape == TEXT else f"examples of the shape {shape}"
        raise UserError(
            f"{', '.join(map(str, request.sources))} holds {held}, and the objective {kind} does not learn from that "
            f"(allowed: {', '.join(OBJECTIVES[shape])})"
        )
    return kind


def _objective_table(train_table: dict[str, Any]) -> dict[str, Any]:
    given = train_table.get("objective", {})
    return {"kind": given} if isinstance(given, str) else dict(given)


def _parts(request: FinetuneRequest, choices: ExampleSettings, shape: str, seed: int) -> ExampleSplits:
    if shape == TEXT:
        return ExampleSplits([], [], [])
    given = [read_examples(files, shape) if files else None for files in (request.validation, request.test)]
    return split_examples(
        read_examples(request.sources, shape),
        validation=given[0],
        test=given[1],
        validation_fraction=choices.validation_fraction,
        test_fraction=choices.test_fraction,
        seed=seed,
    )


def _objective(kind: str, train_table: dict[str, Any], parts: ExampleSplits) -> ObjectiveSettings:
    """The objective, with the labels that the examples have.

    Raises:
        UserError: its settings are wrong, or the examples have one label only.
    """
    table = {**_objective_table(train_table), "kind": kind}
    if kind == "classification":
        examples = cast(list[LabelledExample], parts.train)
        table.setdefault("form", examples[0].form)
        if table["form"] != "choice":
            table.setdefault("labels", labels_of(examples))
    if kind == "distillation" and not table.get("teacher"):
        raise UserError("distilling needs a teacher: --set train.objective.teacher=runs/large")
    return KINDS.settings(kind).parse(table, "train.objective")


def _config(table: dict[str, Any], request: FinetuneRequest, base: Loaded, objective: ObjectiveSettings) -> GPTConfig:
    """The base's shape, with what the objective and the adapters add.

    Raises:
        UserError: a setting asks for another shape than the base's.
    """
    shape = base.config.plain()
    given = table.get("model", {})
    free = {"dropout", "linear", "num_labels", "context_length"}
    if odd := sorted(key for key in given.keys() - free if given[key] != shape.get(key)):
        raise UserError(f"model.{odd[0]} is the base's own, and cannot be changed: leave it out, or pretrain anew")
    if given.get("context_length", 0) > base.config.context_length:
        raise UserError(f"model.context_length can be at most the base's {base.config.context_length}")
    added: dict[str, Any] = {"num_labels": getattr(objective, "num_labels", None)}
    if objective.compares:
        added["dropout"] = 0.0
    if request.lora is not None:
        added["linear"] = {"kind": "lora", "rank": request.lora, "alpha": 2.0 * request.lora, "base": shape["linear"]}
    return GPTConfig.parse(merged(merged({**shape, **added}, {}), given), "model")


def _text(table: dict[str, Any], request: FinetuneRequest, base: Loaded, seed: int) -> PreparedData:
    """Plain text in the base's own tokens."""
    return prepare(
        request.sources,
        settings=DataSettings.parse(table.get("data", {}), "data"),
        tokenizer=HuggingFaceTokenizerSettings(path=str(base.run.folder)),
        validation=request.validation,
        seed=seed,
    )


def _samples(
    objective: ObjectiveSettings,
    encoder: Encoder,
    parts: ExampleSplits,
    text: PreparedData | None,
    model: GPT,
    reward: Reward | None,
    skip_bad: bool,
    seed: int,
) -> tuple[TrainingSet, Callable[[GPT], dict[str, Any]]]:
    """What is learnt from, and what judges by the test part."""
    if isinstance(objective, GrpoSettings):
        rollouts = RolloutSet(objective, encoder, parts, model, reward or reward_of(objective.reward), seed=seed)
        return rollouts, rollouts.test_figures
    samples: TrainingSet
    judge: Callable[[GPT], dict[str, Any]] = _says_nothing
    if text is not None:
        samples = TextSet(text, min(encoder.context_length, ROW_TOKENS), seed)
    else:
        learnt = objective if isinstance(objective, ExampleObjective) else SftSettings()
        examples = ExampleSet(learnt, encoder, parts, skip_bad=skip_bad, seed=seed)
        samples, judge = examples, examples.test_figures
    if isinstance(objective, DistillationSettings):
        samples = TaughtSet(samples, _teacher(objective, encoder, model))
    return samples, judge


def _says_nothing(_: GPT) -> dict[str, Any]:
    return {}


def _teacher(objective: DistillationSettings, encoder: Encoder, student: GPT) -> GPT:
    """The model that teaches.

    Raises:
        UserError: it does not read what the student reads.
    """
    teacher = load(objective.teacher, device="cpu")
    if teacher.tokenizer.fingerprint != encoder.tokenizer.fingerprint:
        raise UserError(
            f"{objective.teacher} has another tokenizer than the student: distil between runs that share one "
            "(pretrain the student with --tokenizer and the teacher's folder)"
        )
    if teacher.config.context_length < encoder.context_length:
        raise UserError(
            f"{objective.teacher} reads {teacher.config.context_length} tokens at once and the student "
            f"{encoder.context_length}: set model.context_length to that of the teacher"
        )
    teacher.model.compute_dtype = student.compute_dtype
    return teacher.model


def _train(
    given: dict[str, Any],
    request: FinetuneRequest,
    objective: ObjectiveSettings,
    model: GPT,
    samples: TrainingSet,
) -> dict[str, Any]:
    """Everything about the training, what was given on top."""
    wanted = min(max(round(TOKENS_PER_STEP / samples.tokens_per_sample), LEAST_ROWS), MOST_ROWS)
    rows = given.get("batch_size", min(wanted, max(1, samples.num_samples // LEAST_STEPS)))
    epochs = request.epochs or EPOCHS.get(objective.kind, 1.0)
    num_steps = given.get("num_steps", max(1, math.ceil(epochs * samples.num_samples / rows)))
    every = max(1, num_steps // NUM_EVALUATIONS)
    adapts = model.config.linear.kind == "lora"
    rate = LORA_LEARNING_RATE if adapts else LEARNING_RATE
    optimizer = {
        "kind": "adamw",
        "learning_rate": POLICY_LEARNING_RATE if objective.kind == "grpo" else rate,
        "weight_decay": 0.01,
    }
    if not adapts:
        optimizer["embedding_lr_multiplier"] = _embedding_lr_multiplier(model)
    defaults = {
        "batch_size": rows,
        "num_steps": num_steps,
        "optimizer": optimizer,
        "stability": {"spike_deviations": 100.0},  # of few examples in a step, one may be hard: that is no sickness
        "schedule": {"warmup_steps": num_steps // 20, "decay_fraction": 0.9, "min_lr_ratio": 0.0},
        "evaluate_at_start": True,
        "evaluate_every_steps": every,
        "sample_every_steps": 2 * every,
    }
    return {**merged(defaults, given), "objective": objective.plain()}


@torch.no_grad()
def _embedding_lr_multiplier(model: GPT) -> float:
    """How many times larger the embedding's numbers are than those of the blocks' matrices, in two digits."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    if not matrices:
        return 1.0
    total = sum(float(p.float().square().sum()) for p in matrices) / sum(p.numel() for p in matrices)
    return float(f"{math.sqrt(float(model.embedding.weight.float().square().mean()) / max(total, 1e-12)):.2g}")


def _forgetting(base: Loaded, model: GPT) -> Callable[[GPT], dict[str, Any]] | None:
    """Measures how well general text is foretold: the base's own validation text, by the base and by the tuned model.
    Nothing where that text is no longer there."""
    try:
        stream, _ = validation_text(base.run)
    except UserError:
        return None
    bytes_of = base.tokenizer.num_bytes_per_token

    def bits(judged: GPT) -> float:
        return score_language(judged, stream, bytes_of, max_tokens=FORGETTING_TOKENS).bits_per_byte

    before = bits(model.eval())
    return lambda tuned: {"general_bits_per_byte_before": before, "general_bits_per_byte": bits(tuned)}


def _summary(parts: ExampleSplits) -> dict[str, Any]:
    counts = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    return {
        "fingerprint": parts.fingerprint,
        **{name: {"num_examples": len(examples)} for name, examples in counts.items()},
        "num_dropped": parts.num_dropped,
    }
