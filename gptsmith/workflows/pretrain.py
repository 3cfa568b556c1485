"""From text to a trained GPT."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, write_json
from gptsmith.base.settings import changed_keys, merged, with_assignments
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.presets import preset_settings, smith_shape
from gptsmith.run.checkpoint import Checkpoint, list_checkpoints
from gptsmith.run.distributed import SINGLE_PROCESS, Processes, init_process_group
from gptsmith.run.folder import DATA, PLAN, RESULT, SETTINGS, Run, read_settings, require_free
from gptsmith.run.writer import only_writer
from gptsmith.train.datasets.text import TextSet
from gptsmith.train.planning.minutes import NUM_EVALUATIONS, corpus_of, plan_minutes
from gptsmith.train.planning.plan import TOKENS_PER_STEP, plan_tokens
from gptsmith.train.run_settings import PretrainRequest, RunSettings
from gptsmith.train.trainer import Session

CONTEXT_LENGTH = 256


def pretrain(
    sources: Sequence[str | Path] = (),
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    minutes: float | None = None,
    tokens: int | None = None,
    params: int | None = None,
    tokenizer: str | None = None,
    validation: Sequence[str | Path] = (),
    target_loss: float | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: str | Path | None = None,
    started: float | None = None,
) -> dict[str, Any]:
    """Trains a GPT on text, from the first weight, into a run folder. Where torchrun started several processes, each of
    them calls this, and they train one model together.

    Args:
        sources: files, folders and patterns.
        out: the run folder; runs/NAME after the first source where it is not given.
        preset: the model's shape; `smith`, at a size chosen for the text, where it is not given.
        minutes: how long the whole command may take. The model and its training are chosen for the best loss in it.
        tokens: how many tokens to train on. With `resume`, how many in all.
        params: about how many parameters the blocks should have.
        tokenizer: the kind of tokenizer, or the path of one in Hugging Face's format.
        validation: texts to validate on, instead of a share of the sources.
        target_loss: stop once the validation loss, in nats a token, is at or below this.
        config: a run.toml to take settings from.
        settings: changes such as `model.num_layers=6`, on top of everything.
        resume: a run to go on with, instead of sources.
        started: the `time.monotonic()` from which `minutes` and `seconds` count; now where it is not given.

    Returns:
        run, status (`finished`, `reached`, `early`, `stopped`), step, num_parameters, num_tokens, validation_loss
        (nats a token), bits_per_byte, perplexity, train_loss, best_step, tokens_per_second, seconds, device, dtype.

    Raises:
        UserError: a text, a setting or a folder cannot be used; nothing is left half-written.
    """
    started = time.monotonic() if started is None else started
    if resume is not None:
        if any([sources, out, preset, minutes, params, tokenizer, validation, config]):
            raise UserError(
                "--resume takes the run's own text and settings: with it, give only --tokens, --target-loss and --set"
            )
    elif not sources:
        raise UserError("name the text to train on: files, folders or patterns")
    with init_process_group() as processes, ExitStack() as held:

        def begin() -> Start:
            if resume is not None:
                return _gone_on_with(Run.open(resume), held, processes, tokens, target_loss, settings)
            table = request_table(
                sources,
                minutes=minutes,
                preset=preset,
                tokens=tokens,
                params=params,
                tokenizer=tokenizer,
                validation=validation,
                target_loss=target_loss,
                config=config,
                settings=settings,
            )
            folder = _folder(out, sources[0], table["request"])
            if (folder / SETTINGS).exists():
                return _gone_on_with(Run.open(folder), held, processes)
            start = _fresh(table, folder, started, processes)
            held.enter_context(only_writer(folder))
            return start

        return _agreed(begin, processes).session(processes).run_to_end(started)


@dataclass(frozen=True)
class Start:
    """What a session begins with."""

    run: Run
    settings: RunSettings
    data: PreparedData
    checkpoint: Checkpoint | None = None

    def session(self, processes: Processes) -> Session:
        """A session that stands where the checkpoint does."""
        samples = TextSet(self.data, self.settings.model.context_length, self.settings.train.seed)
        session = Session(self.run, self.settings, samples, processes)
        if self.checkpoint is not None:
            session.go_on(self.checkpoint)
        return session


def _agreed(begin: Callable[[], Start], processes: Processes) -> Start:
    """What the first process begins with; the others wait for it, and take up what it has written.

    Raises:
        UserError: the first process cannot begin.
    """
    if processes.is_first:
        try:
            start = begin()
        except UserError as error:
            processes.broadcast({"error": str(error)})
            raise
        checkpoint = None if start.checkpoint is None else str(start.checkpoint.folder.absolute())
        processes.broadcast({"run": str(start.run.folder.absolute()), "checkpoint": checkpoint})
        return start
    said = processes.broadcast(None)
    if "error" in said:
        raise UserError(said["error"])
    run = Run.open(said["run"])
    settings = RunSettings.parse(run.settings())
    newest = [c for c in list_checkpoints(run.checkpoints) if str(c.folder) == said["checkpoint"]]
    return Start(run, settings, _data_of(run, settings), *newest)


def request_table(
    sources: Sequence[str | Path],
    *,
    tokenizer: str | None,
    validation: Sequence[str | Path],
    config: str | Path | None,
    settings: Sequence[str],
    target_loss: float | None = None,
    **numbers: Any,
) -> dict[str, Any]:
    """The settings that a command spells out, with what was asked for as its `request` table."""
    given: dict[str, Any] = {
        **numbers,
        "sources": [str(source) for source in sources],
        "validation": [str(text) for text in validation],
        "tokenizer": tokenizer,
        "target_loss": target_loss,
        "config": None if config is None else str(config),
        "settings": list(settings),
    }
    table: dict[str, Any] = {"request": {key: value for key, value in given.items() if value}}
    if tokenizer is not None:
        known_path = Path(tokenizer).exists()
        table["tokenizer"] = {"kind": "huggingface", "path": tokenizer} if known_path else {"kind": tokenizer}
    if target_loss is not None:
        table["train"] = {"target_loss": target_loss}
    below = read_settings(Path(config)) if config is not None else {}
    below.pop("made_by", None)
    below.pop("request", None)
    return with_assignments(merged(below, table), settings)


def _gone_on_with(
    run: Run,
    held: ExitStack,
    processes: Processes,
    tokens: int | None = None,
    target_loss: float | None = None,
    changes: Sequence[str] = (),
) -> Start:
    held.enter_context(only_writer(run.folder))
    return _resumed(run, processes, tokens, target_loss, changes)


def _folder(out: str | Path | None, source: str | Path, request: dict[str, Any]) -> Path:
    """The folder of a run: the one that was asked for, or the first name after the text that is free. One in which
    the same was asked for and that has not ended is not in the way: it goes on.

    Raises:
        UserError: the folder that was asked for is in use.
    """
    if out is not None:
        folder = Path(out)
        if not _goes_on(folder, request):
            require_free(folder)
        return folder
    name = Path(source).resolve().stem.strip(".*") or "run"
    candidates = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in range(1, 10**6))
    return next(folder for folder in candidates if not folder.exists() or _goes_on(folder, request))


def _goes_on(folder: Path, request: dict[str, Any]) -> bool:
    """Whether the folder is a run of the same command that has not ended."""
    if not (folder / SETTINGS).is_file() or (folder / RESULT).exists():
        return False
    return PretrainRequest.parse(request) == PretrainRequest.parse(
        Run.open(folder).settings().get("request", {"sources": []})
    )


def _fresh(table: dict[str, Any], folder: Path, started: float, processes: Processes) -> Start:
    """A new run."""
    settings, said, data = settled(table, started, processes)
    run = Run.create(folder, settings, RunSettings)
    _keep_data(run, data)
    if said:
        write_json(run.folder / PLAN, {"predicted": said})
    return Start(run, settings, data)


def settled(
    table: dict[str, Any], started: float, processes: Processes = SINGLE_PROCESS
) -> tuple[RunSettings, dict[str, Any], PreparedData]:
    """Reads the text, then gives all settings of a run: those in `table`, and for the rest what suits the text and the
    time; with what the plan promises, where there is a time to keep to.

    Raises:
        UserError: a text cannot be used, settings do not go together, or the time is too short.
    """
    base = preset_settings(table["request"].get("preset", "smith"))
    # Checked before any text is read, with stand-ins for what only the text decides.
    stand_ins = {"model": base, "train": {"num_steps": 1, "batch_size": processes.world_size}}
    early = RunSettings.parse(merged(stand_ins, table))
    processes.require_share(early.train.batch_size)
    device = choose_device(early.train.device)
    dtype = choose_dtype(early.train.dtype, device)
    data = prepare(
        early.request.sources,
        settings=early.data,
        tokenizer=early.tokenizer,
        validation=early.request.validation,
        seed=early.train.seed,
    )
    request, given = early.request, table.get("model", {})
    sized = request.preset == "smith"
    if request.params is not None and not sized:
        raise UserError(f"--params chooses the size of the default model; the preset {request.preset} has its own")
    vocab_size = given.get("vocab_size", data.tokenizer.vocab_size)
    if vocab_size < data.tokenizer.vocab_size:
        raise UserError(
            f"model.vocab_size={vocab_size} is too small for this tokenizer's {data.tokenizer.vocab_size} words: "
            "leave it out, or set tokenizer.vocab_size"
        )
    base = merged(base, {"vocab_size": vocab_size, **({"context_length": CONTEXT_LENGTH} if sized else {})})
    if sized and "embed_dim" in given and "num_heads" not in given:
        base = merged(base, smith_shape(given["embed_dim"], given.get("num_layers", base["num_layers"])))
    base = merged(base, given)
    said: dict[str, Any] = {}
    train = table.get("train", {})
    if request.minutes is not None:
        planned, said = plan_minutes(
            request.minutes,
            time.monotonic() - started,
            corpus_of(data),
            len(data.validation) if data.validation is not None else 0,
            base,
            shape_is_given=not sized or not SHAPE_KEYS.isdisjoint(given),
            params=request.params,
            train=early.train,
            device=device,
            dtype=dtype,
        )
        every = max(1, planned.num_steps // NUM_EVALUATIONS)
        train = merged({"evaluate_every_steps": every, "sample_every_steps": 2 * every}, train)
    else:
        tokens = request.tokens
        if tokens is None and "num_steps" in train:
            tokens = train["num_steps"] * max(train.get("batch_size", 1) * base["context_length"], TOKENS_PER_STEP)
        planned = plan_tokens(len(data.train), tokens, request.params)
    model = merged(merged(base, planned.model if sized else {}), given)
    windows = max(1, planned.tokens_per_step // model["context_length"])
    batch_size = train.get("batch_size", math.ceil(windows / processes.world_size) * processes.world_size)
    num_steps = max(1, round(planned.num_tokens / (batch_size * model["context_length"])))
    train = merged({"batch_size": batch_size, "num_steps": num_steps}, train)
    return RunSettings.parse(merged(table, {"model": model, "train": train})), said, data


SHAPE_KEYS = {"embed_dim", "num_layers", "num_heads", "feedforward", "attention"}


def _keep_data(run: Run, data: PreparedData) -> None:
    data.tokenizer.save(run.folder)
    write_json(run.folder / DATA, {"fingerprint": data.fingerprint, **data.summary})


FIXED = ("model", "tokenizer", "data", "train.seed", "train.batch_size", "train.objective", "train.optimizer.kind")
"""Settings that a run keeps from its first step to its last; all others may change when it goes on."""


def _resumed(
    run: Run, processes: Processes, tokens: int | None, target_loss: float | None, changes: Sequence[str]
) -> Start:
    """A run that goes on, for more tokens, to a lower loss or with other settings, where given.

    Raises:
        UserError: the run has ended, its text or a fixed setting has changed, or no checkpoint is whole.
    """
    checkpoint = run.newest(note)
    table = with_assignments(run.settings(), changes)
    settings = RunSettings.parse(table, str(run.folder / SETTINGS))
    request: dict[str, Any] = {}
    if tokens is not None:
        tokens_per_step = settings.train.batch_size * settings.model.context_length
        request["num_steps"] = max(1, round(tokens / tokens_per_step))
    if target_loss is not None:
        request["target_loss"] = target_loss
    settings = RunSettings.parse(merged(table, {"train": request}), str(run.folder / SETTINGS))
    if checkpoint is not None:
        changed = changed_keys(checkpoint.read("settings.json"), settings.plain())
        if odd := [key for key in changed if any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED)]:
            raise UserError(
                f"{run.folder} goes on with the settings that it began with, and {', '.join(odd)} changed: "
                f"put back what it was (only these are fixed: {', '.join(FIXED)}), or start a new run"
            )
    processes.require_share(settings.train.batch_size)
    data = _data_of(run, settings)
    if checkpoint is None:
        note(f"{run.folder} has no checkpoint yet: it starts from its first step")
        _keep_data(run, data)
    else:
        done = checkpoint.read("train_state.json")
        if done["step"] >= settings.train.num_steps:
            raise UserError(
                f"{run.folder} is finished after {done['num_tokens']:,} tokens: go on with --tokens of more than that"
            )
    run.write_settings(settings.plain())
    return Start(run, settings, data, checkpoint)


def _data_of(run: Run, settings: RunSettings) -> PreparedData:
    """The data that a run was begun with.

    Raises:
        UserError: its text has changed.
    """
    data = prepare(
        settings.request.sources,
        settings=settings.data,
        tokenizer=settings.tokenizer,
        validation=settings.request.validation,
        seed=settings.train.seed,
    )
    known = run.folder / DATA
    if known.exists() and data.fingerprint != read_json(known)["fingerprint"]:
        raise UserError(
            f"the text of {run.folder} has changed since it was trained on: bring the old text back, "
            "or start a new run (gptsmith pretrain)"
        )
    return data
