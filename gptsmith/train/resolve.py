"""All settings of a pretraining run, from the request, the text, and the time."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import ConfigurationError
from gptsmith.base.layers import Layer, assignments, layered
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.prepared_folder import prepared_folder
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.presets import preset_settings, smith_shape, usual_kv_heads
from gptsmith.run.distributed import SINGLE_PROCESS, ParallelSettings, Processes
from gptsmith.run.folder import Run, read_settings
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings
from gptsmith.train.compilable import require_compilable
from gptsmith.train.planning.plan import TOKENS_PER_STEP, Corpus, Plan, plan_tokens
from gptsmith.train.planning.time_budget import NUM_EVALUATIONS, corpus_of, plan_minutes
from gptsmith.train.private.claim import with_noise
from gptsmith.train.private.defaults import private_table
from gptsmith.train.private.leaks import refuse_pretraining_leaks
from gptsmith.train.private.read_before import require_unread, tokenizer_folder
from gptsmith.train.private.units import DocumentUnits, require_units
from gptsmith.train.request import NewModelRequest, TrainingRequest
from gptsmith.train.run_settings import RunSettings

DEFAULT = "smith"
"""The preset whose size is chosen for the text and the time."""
SHAPE = {"embed_dim", "num_layers", "num_heads", "feedforward", "attention"}
"""The settings of which one that is given fixes the model's shape, so that the plan chooses its training only."""


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, and what they were chosen for.

    Attributes:
        settings: every setting of the run.
        origins: where each value came from, by its path: `the preset smith`, `the plan`, a file, an option, `--set`.
        predicted: what the plan predicts; empty without a time to keep to.
        data: the text that was read.
        corpus: its properties that the plan depends on; None without a time to keep to.
    """

    settings: RunSettings
    origins: dict[str, str]
    predicted: dict[str, Any]
    data: PreparedData
    corpus: Corpus | None = None

    def plan(self) -> dict[str, Any]:
        """The content of plan.json of a run that begins."""
        train, minutes = self.settings.train, self.settings.request.minutes
        assert minutes is not None, "only a run of so many minutes has a plan"
        assert self.corpus is not None
        return {
            "predicted": {
                **self.predicted,
                "num_steps": train.num_steps,
                "decay_fraction": train.schedule.decay_fraction,
            },
            "budget_seconds": minutes * 60,
            "corpus": asdict(self.corpus),
        }


def given_layers(request: TrainingRequest) -> list[Layer]:
    """The layers that a person wrote: the file below the options below `--set`.

    Raises:
        ConfigurationError: the file cannot be read, or an assignment is none.
    """
    layers = [Layer("the command", {"request": request.recorded()})]
    if request.config is not None:
        table = read_settings(Path(request.config))
        layers.append(Layer(str(request.config), {k: v for k, v in table.items() if k not in ("made_by", "request")}))
    layers += [Layer(option, table) for option, table in request.option_settings().items()]
    return [*layers, *assignments(request.settings)]


def require_shards(parallel: ParallelSettings) -> None:
    """Checks that a new run is sharded if it is to be sharded within groups. One that is resumed may no longer be.

    Raises:
        ConfigurationError: it is not.
    """
    if parallel.shard_size is not None and not parallel.shard:
        raise ConfigurationError(
            f"parallel.shard_size={parallel.shard_size} is for a model in shards, and this one would be whole on every "
            "process: set parallel.shard=true too, or leave it out"
        )


def resolve_settings(request: NewModelRequest, processes: Processes = SINGLE_PROCESS) -> Resolved:
    """Read the text, then choose every setting that is not given for the text and the time.

    The layers, the lowest first: the preset, the plan, the file, the options, `--set`.

    Raises:
        ConfigurationError: a text cannot be used, settings do not go together, or the time is too short.
    """
    started = time.monotonic() if request.started is None else request.started
    given = given_layers(request)
    lowest = _lowest_layers(request)
    early = settings_before_data(request, processes)
    for name in ("max_forgetting", "min_kept_answers"):
        if getattr(early.train, name) is not None:
            raise ConfigurationError(f"train.{name} is for finetune: a new model has nothing to forget")
    processes.require_share(early.train.batch_size)
    require_shards(early.parallel)
    processes.require_groups(early.parallel.shard_size)
    device = choose_device(early.train.device)
    dtype = choose_dtype(early.train.dtype, device)
    require_compilable(early)
    table = layered(given, RunSettings).values
    if early.train.private.is_on:
        refuse_pretraining_leaks(table, early, processes)
    data = prepared(early)
    if early.train.private.is_on and isinstance(early.tokenizer, HuggingFaceTokenizerSettings):
        require_unread(tokenizer_folder(early.tokenizer.path), request.sources, data.corpus)
    below = [*lowest, *_shape_layers(request, table.get("model", {}), data)]
    model = layered([*below, *_followers(below, given), *given], RunSettings).values["model"]
    predicted: dict[str, Any] = {}
    corpus: Corpus | None = None
    if request.minutes is None:
        plan = _token_plan(request, table.get("train", {}), len(data.train), model["context_length"])
    else:
        corpus = corpus_of(data)
        plan, predicted = plan_minutes(
            request.minutes,
            time.monotonic() - started,
            corpus,
            len(data.validation) if data.validation is not None else 0,
            model,
            shape_is_given=request.preset != DEFAULT or not SHAPE.isdisjoint(table.get("model", {})),
            params=request.params,
            train=early.train,
            device=device,
            dtype=dtype,
            may_compile=not early.parallel.shard,
            num_shards=early.parallel.num_shards(processes.world_size),
        )
    if request.preset == DEFAULT:
        below.append(Layer("the plan", {"model": plan.model}))
    below += _followers(below, given)
    known = layered([*below, *given], RunSettings).values
    if early.train.private.is_on:
        below.append(_private_layer(request, known, data))
    else:
        below.append(_training_layer(plan, known, processes, timed=request.minutes is not None))
    resolved = layered([*below, *given], RunSettings)
    for change in resolved.changes:
        note(str(change), "yellow")
    settings = resolved.parse(RunSettings)
    if settings.train.private.is_on:
        settings = with_noise(settings, len(data.train.documents))
    require_compilable(settings)
    for remark in settings.model.attention.remarks(settings.model.context_length):
        note(remark, "yellow")
    return Resolved(settings, resolved.origins, predicted, data, corpus)


def settings_before_data(request: NewModelRequest, processes: Processes = SINGLE_PROCESS) -> RunSettings:
    """The settings as far as they are known before any text is read, with stand-ins for what only the text decides.

    Raises:
        ConfigurationError: one is unknown or not allowed.
    """
    given, lowest = given_layers(request), _lowest_layers(request)
    stand_ins = Layer("", {"train": {"num_steps": 1, "batch_size": processes.world_size}})
    return layered([*lowest, stand_ins, *_followers(lowest, given), *given], RunSettings).parse(RunSettings)


def _lowest_layers(request: NewModelRequest) -> list[Layer]:
    """The preset, and the settings that a prepared text was made with."""
    layers = [Layer(f"the preset {request.preset}", {"model": preset_settings(request.preset)})]
    folder = prepared_folder(request.sources)
    return layers if folder is None else [*layers, Layer(str(request.sources[0]), folder.settings)]


def prepared(settings: RunSettings, run: Run | None = None) -> PreparedData:
    """The text that a run is trained on, as token streams.

    Args:
        run: the run that has begun with it: its paths are found again, and its tokenizer is not trained anew.
    """
    request = settings.request
    return prepare(
        request.sources if run is None else run.paths.all_located(request.sources),
        settings=settings.data,
        tokenizer=settings.tokenizer if run is None else run.tokenizer(),
        validation=request.validation if run is None else run.paths.all_located(request.validation),
        without=request.without if run is None else run.paths.all_located(request.without),
        redact_passages=request.redact_passages if run is None else run.paths.all_located(request.redact_passages),
        seed=settings.train.seed,
    )


def _shape_layers(request: NewModelRequest, given: dict[str, Any], data: PreparedData) -> list[Layer]:
    """What the text, and a shape that is given in part, decide of the model.

    Raises:
        ConfigurationError: the vocabulary that is given is too small for the tokenizer.
    """
    vocab_size = given.get("vocab_size", data.tokenizer.vocab_size)
    if vocab_size < data.tokenizer.vocab_size:
        raise ConfigurationError(
            f"model.vocab_size={vocab_size} is too small for this tokenizer's {data.tokenizer.vocab_size} tokens: "
            "leave it out, or set tokenizer.vocab_size"
        )
    layers = [Layer("the tokenizer", {"model": {"vocab_size": vocab_size}})]
    if request.preset == DEFAULT and "embed_dim" in given and "num_heads" not in given:
        num_layers = given.get("num_layers", preset_settings(DEFAULT)["num_layers"])
        layers.append(Layer("the preset smith", {"model": smith_shape(given["embed_dim"], num_layers)}))
    return layers


def _followers(below: list[Layer], given: list[Layer]) -> list[Layer]:
    """What a preset or a plan says of the model's shape and what is given makes impossible: it follows."""
    model = layered([*below, *given], RunSettings).values["model"]
    attention = layered(given, RunSettings).values.get("model", {}).get("attention", {})
    num_heads, num_kv_heads = model.get("num_heads"), model["attention"].get("num_kv_heads")
    if "num_kv_heads" in attention or not isinstance(num_heads, int) or not isinstance(num_kv_heads, int):
        return []
    if num_heads % num_kv_heads == 0:
        return []
    return [Layer("model.num_heads", {"model": {"attention": {"num_kv_heads": usual_kv_heads(num_heads)}}})]


def _token_plan(request: NewModelRequest, train: dict[str, Any], num_text_tokens: int, context_length: int) -> Plan:
    """The plan for the requested tokens; for a few minutes of training if their number is not given."""
    tokens = getattr(request, "tokens", None)
    if tokens is None and "num_steps" in train:
        tokens = train["num_steps"] * max(train.get("batch_size", 1) * context_length, TOKENS_PER_STEP)
    return plan_tokens(num_text_tokens, tokens, request.params)


def _private_layer(request: NewModelRequest, known: dict[str, Any], data: PreparedData) -> Layer:
    """The batch and the steps of private training.

    Raises:
        UserError: there are too few documents.
    """
    num_documents = len(data.train.documents)
    require_units(num_documents, DocumentUnits.name)
    tokens = getattr(request, "tokens", None)
    epochs = None if tokens is None else tokens / len(data.train)
    return Layer("the plan", {"train": private_table(known.get("train", {}), epochs, num_documents)})


def _training_layer(plan: Plan, known: dict[str, Any], processes: Processes, *, timed: bool) -> Layer:
    """The batch size and the number of steps that a plan comes to with the settings that are known."""
    train, context_length = known.get("train", {}), known["model"]["context_length"]
    windows = max(1, plan.tokens_per_step // context_length)
    batch_size = train.get("batch_size", math.ceil(windows / processes.world_size) * processes.world_size)
    num_steps = max(1, round(plan.num_tokens / (batch_size * context_length)))
    chosen: dict[str, Any] = {"batch_size": batch_size, "num_steps": num_steps}
    if plan.compiles:
        chosen["compile"] = True
    if timed:
        every = max(1, plan.num_steps // NUM_EVALUATIONS)
        chosen |= {"evaluate_every_steps": every, "sample_every_steps": 2 * every}
    return Layer("the plan", {"train": chosen})
