"""A fine-tuning job made ready: the base, the data, the objective, and every setting that was left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gptsmith.base.errors import ConfigurationError, UserError, did_you_mean
from gptsmith.base.files import write_json
from gptsmith.base.machine import free_memory_bytes
from gptsmith.base.memory import give_back_freed_memory
from gptsmith.base.settings import merged
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.cache import key_of
from gptsmith.data.care import brief_audit
from gptsmith.data.care.canaries import Canary, canary_counts, read_canaries, write_canaries
from gptsmith.data.corpus import Corpus
from gptsmith.data.example_prompts import questions
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import KINDS as SHAPES
from gptsmith.data.shapes import TEXT, Example
from gptsmith.model.config import GPTConfig
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.transform import dequantize, initialize_from
from gptsmith.run.distributed import ParallelSettings
from gptsmith.run.folder import DATA, Run
from gptsmith.run.paths import RunPaths
from gptsmith.text.chat_template import ChatTemplate, default_template
from gptsmith.train.compilable import require_compilable
from gptsmith.train.datasets.base import Dataset, DatasetInputs, Reward
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.finetuning_defaults import training_table
from gptsmith.train.forgetting import known_text, own_text
from gptsmith.train.known_answers import known_answers
from gptsmith.train.objectives import KINDS, ObjectiveSettings, objectives_for
from gptsmith.train.planning.model_memory import ModelMemory, require_tuning_memory
from gptsmith.train.private.claim import with_noise
from gptsmith.train.private.defaults import private_table
from gptsmith.train.private.leaks import refuse_leaks, refuse_objective
from gptsmith.train.private.read_before import require_apart, require_unread
from gptsmith.train.private.settings import PrivateSettings
from gptsmith.train.private.units import units_of
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.run_settings import ExampleSettings, FinetuneSettings

FORGETTING_LIMITS = ("max_forgetting", "min_kept_answers")
"""The settings that choose weights by what they still know."""


@dataclass(frozen=True)
class FinetuningJob:
    """Everything that a trainer needs to tune a model."""

    settings: FinetuneSettings
    base: Loaded
    model: GPT
    """The model before training."""
    template: ChatTemplate | None
    """The chat template of the tuned model; None if it is not made for conversations."""
    dataset: Dataset
    data: dict[str, Any]
    """The content of data.json: counts, and a fingerprint of the examples."""
    canaries: Sequence[Canary] = ()
    """Those that are planted."""
    learnt: Corpus | Sequence[Example] = ()
    """What is trained on, but for canaries among examples."""

    def found(self) -> list[str]:
        """The audit of what is trained on, in one line; none if nothing was found."""
        if isinstance(self.learnt, Corpus):
            return brief_audit.of_corpus(self.learnt).lines("documents")
        return brief_audit.of_examples(self.learnt).lines("examples")

    @property
    def is_private(self) -> bool:
        return self.settings.train.private.is_on

    def with_settings(self, settings: FinetuneSettings) -> FinetuningJob:
        """The same job with other settings."""
        return replace(self, settings=settings)

    def write(self, run: Run) -> None:
        """Writes the files of a run besides its settings. Prompts of private data are left out."""
        self.base.tokenizer.save(run.folder)
        write_canaries(run.folder, self.canaries)
        write_json(run.folder / DATA, {**self.data, "example_prompts": []} if self.is_private else self.data)
        if self.template is not None:
            self.template.save(run.folder)


def prepare_job(
    table: dict[str, Any],
    reward: Reward | None = None,
    *,
    final_evaluations: bool = True,
    paths: RunPaths | None = None,
    num_processes: int = 1,
) -> FinetuningJob:
    """Reads the base and the data, and chooses the settings that `table` leaves open.

    Args:
        reward: the reward of completions, instead of the one that `train.objective.reward` names.
        paths: the paths of a run that has begun with this table, which are found again.
        final_evaluations: whether the test split and the base's own text are evaluated at the end.
        num_processes: those that train together. If the settings shard the model over them, that of the job is the base
            as its files are mapped into memory: a trainer makes shards of it.

    Raises:
        UserError: the base, an example or a setting cannot be used.
    """
    locate = str if paths is None else paths.located
    request = FinetuneRequest.parse(table["request"], "request").located(locate)
    sources = ExampleSources.of(table, request)
    choices = sources.choices
    train_table = table.get("train", {})
    private = PrivateSettings.parse(train_table.get("private", {}), "train.private")
    if private.is_on:
        refuse_leaks(table, request)
        require_apart(request.sources, [*request.validation, *request.test])
    opened = open_model(request.base)
    shape = sources.shape()
    objective_table = _objective_table(request, train_table, shape)
    is_conversation = shape != TEXT and SHAPES.settings(shape).is_conversation
    splits = sources.splits(shape)
    objective = KINDS.settings(objective_table["kind"]).for_examples(objective_table, splits)
    if splits.canaries and not isinstance(objective, ExampleObjective):
        raise ConfigurationError(
            f"--canaries are questions with answers to learn, and {objective_table['kind']} learns no answers of its "
            "data: leave them out"
        )
    if private.is_on:
        refuse_objective(objective, objective_table)
    is_shared = num_processes > 1 and ParallelSettings.parse(table.get("parallel", {}), "parallel").shard
    base, model = _base_and_model(opened, table, request, objective, sources.seed, is_shared=is_shared)
    template = base.template or default_template(base.tokenizer)
    text = sources.text(base.run.folder) if shape == TEXT else None
    if private.is_on:
        require_unread(request.base, request.sources, None if text is None else text.corpus)
    encoder = Encoder(base.tokenizer, template, model.config.context_length, choices.learns_thoughts)
    key = _cache_key(base, template, splits, choices, model)
    dataset = objective.dataset(
        DatasetInputs(model, encoder, splits, text, sources.seed, choices.skip_bad, key, reward, locate, is_shared)
    )
    if private.is_on:
        dataset = units_of(dataset, private.max_unit_tokens)
        train_table = private_table(train_table, request.epochs, dataset.num_samples)
    train = training_table(train_table, request.epochs, objective, model, dataset)
    settings = FinetuneSettings.parse({**table, "model": model.config.plain(), "train": train}, "settings")
    if private.is_on:
        settings = with_noise(settings, dataset.num_samples)
    require_compilable(settings)
    _measure_forgetting(dataset, base, model, settings, final_evaluations=final_evaluations)
    converses = base.template is not None or is_conversation
    data = _data_figures(splits, dataset.account()) if text is None else text.summary
    canaries = splits.canaries if text is None else read_canaries(text.corpus.folder)
    learnt = splits.own_train if text is None else text.corpus
    return FinetuningJob(settings, base, model, template if converses else None, dataset, data, canaries, learnt)


def _base_and_model(
    opened: OpenedModel,
    table: dict[str, Any],
    request: FinetuneRequest,
    objective: ObjectiveSettings,
    seed: int,
    *,
    is_shared: bool,
) -> tuple[Loaded, GPT]:
    """The base, without memory for its weights, and the model that begins with them, on the device that trains it; one
    of which shards will be made `is_shared`, and stays in the CPU's memory.

    Raises:
        UserError: there is no memory for it, or a setting asks for another shape than the base's.
    """
    train_table, is_adapted = table.get("train", {}), _is_adapted(request, table)
    device = choose_device(train_table.get("device", "auto"))
    if device.type == "cpu" and not is_shared:
        memory = ModelMemory(str(request.base), opened.config, opened.stored_parameters, free_memory_bytes())
        shape_before = memory.usual_shape if is_adapted else memory.dense_shape
        require_tuning_memory(_config(table, request, shape_before, objective), memory)
    base = Loaded(opened, opened.model("cpu")) if is_shared else load(opened, device="cpu")
    if base.config.linear.is_storage and not is_adapted:
        base.model = dequantize(base.model)
    config = _config(table, request, base.config, objective)
    model = initialize_from(base.model, config, seed=seed, shares_all=is_shared)
    if not is_shared:
        model.to(device)
    base.model = meta_model(base.config)  # its weights are in the new model: no memory for them twice
    give_back_freed_memory()
    model.compute_dtype = choose_dtype(train_table.get("dtype", "auto"), device)
    return base, model


def _measure_forgetting(
    dataset: Dataset, base: Loaded, model: GPT, settings: FinetuneSettings, *, final_evaluations: bool
) -> None:
    """Lets a dataset know what the model knows before training, and what else to measure at the end.

    Raises:
        UserError: weights are to be chosen by what cannot be measured.
    """
    limits = [name for name in FORGETTING_LIMITS if getattr(settings.train, name) is not None]
    if limits and not dataset.num_validation_tokens:
        raise UserError(f"train.{limits[0]} selects among weights that are evaluated: give examples to validate on")
    if final_evaluations or limits:
        own = own_text(base)
        dataset.known_text = known_text(base, model, own)
        dataset.known_answers = known_answers(base, model, own)
        give_back_freed_memory()
    if settings.train.min_kept_answers is not None and dataset.known_answers is None:
        raise UserError(
            "train.min_kept_answers cannot be kept to: the context has no room for a question: leave it out"
        )
    if final_evaluations:
        known = [each for each in (dataset.known_text, dataset.known_answers) if each is not None]
        dataset.final_evaluations += [dataset.test_figures, *(each.figures for each in known)]


def _objective_table(request: FinetuneRequest, train_table: dict[str, Any], shape: str) -> dict[str, Any]:
    """The settings of the objective, with the requested kind or the default one for data of this shape.

    Raises:
        UserError: there is no such objective, or it cannot train on such data.
    """
    given = train_table.get("objective", {})
    table = {"kind": given} if isinstance(given, str) else dict(given)
    allowed = objectives_for(shape)
    kind = request.objective or table.get("kind") or allowed[0]
    if kind not in KINDS.names():
        raise UserError(f"no such objective: {kind} ({did_you_mean(kind, KINDS.names())})")
    if kind not in allowed:
        held = "plain text" if shape == TEXT else f"examples of the shape {shape}"
        raise UserError(
            f"{', '.join(map(str, request.sources))} contains {held}, which the objective {kind} cannot train on "
            f"(allowed: {', '.join(allowed)})"
        )
    return {**table, "kind": kind}


def _config(
    table: dict[str, Any], request: FinetuneRequest, base: GPTConfig, objective: ObjectiveSettings
) -> GPTConfig:
    """The base's shape, with what the objective and the adapters add.

    Raises:
        UserError: a setting asks for another shape than the base's.
    """
    shape = base.plain()
    given = table.get("model", {})
    free = {"dropout", "linear", "num_labels", "context_length"}
    if odd := sorted(key for key in given.keys() - free if given[key] != shape.get(key)):
        raise UserError(f"model.{odd[0]} is the base's own, and cannot be changed: leave it out, or pretrain anew")
    if given.get("context_length", 0) > base.context_length:
        raise UserError(f"model.context_length can be at most the base's {base.context_length}")
    added: dict[str, Any] = {"num_labels": objective.num_labels}
    if objective.uses_reference_model:
        added["dropout"] = 0.0
    if request.lora is not None:
        added["linear"] = {"kind": "lora", "rank": request.lora, "alpha": 2.0 * request.lora, "base": shape["linear"]}
    return GPTConfig.parse(merged(merged({**shape, **added}, {}), given), "model")


def _is_adapted(request: FinetuneRequest, table: Mapping[str, Any]) -> bool:
    """Whether adapters are trained, below which weights stay as they are."""
    linear = table.get("model", {}).get("linear", {})
    return request.lora is not None or (linear if isinstance(linear, str) else linear.get("kind")) == "lora"


def _cache_key(
    base: Loaded, template: ChatTemplate, splits: ExampleSplits, choices: ExampleSettings, model: GPT
) -> str:
    """A key of all that the reference model's log-likelihoods of the examples depend on."""
    reference = [base.run.fingerprint, base.tokenizer.fingerprint, template.source]
    data = [splits.fingerprint, choices.skip_bad, model.config.context_length, str(model.compute_dtype)]
    return key_of(*reference, *data)


def _data_figures(splits: ExampleSplits, account: Encoding | None) -> dict[str, Any]:
    skipped = splits.skipped if account is None else splits.skipped + account.skipped
    counts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        "fingerprint": splits.fingerprint,
        **{name: {"num_examples": len(examples)} for name, examples in counts.items()},
        **({"canaries": canary_counts(splits.canaries)} if splits.canaries else {}),
        "num_dropped": splits.num_dropped,
        "num_left_out": splits.num_left_out,
        "redacted": dict(splits.redacted),
        "split_notes": list(splits.notes),
        "skipped_examples": skipped.plain(),
        **({} if account is None else account.figures()),
        "fields": {path: dict(names) for path, names in splits.fields.items()},
        "example_prompts": questions(splits.own_train),
    }
