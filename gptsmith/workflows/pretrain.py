"""From text to a trained GPT."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from safetensors.torch import load_file

from gptsmith.base.console import Meter, meter, note
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, readable_bytes, write_json
from gptsmith.base.memory import keep_freed_memory
from gptsmith.base.settings import merged, read_toml, with_assignments
from gptsmith.data.batches import Windows
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.evaluate.language import LanguageScore, score_language
from gptsmith.generate.engine import generate
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset_settings, smith_shape
from gptsmith.run.folder import Run, load_weights
from gptsmith.run.store import list_checkpoints, retain
from gptsmith.train.loop import Hooks, train
from gptsmith.train.objectives import Batch
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.plan import plan
from gptsmith.train.state import TrainState
from gptsmith.workflows.settings import RunSettings, run_schema

CONTEXT_LENGTH = 256
SAMPLE_TOKENS = 60
LOG_EVERY_STEPS = 10
SKIPPED_SHOWN = 5


def pretrain(
    sources: Sequence[str | Path] = (),
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    tokens: int | None = None,
    params: int | None = None,
    tokenizer: str | None = None,
    validation: Sequence[str | Path] = (),
    until_loss: float | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: str | Path | None = None,
) -> dict[str, Any]:
    """Trains a GPT on text, from the first weight, into a run folder.

    Args:
        sources: files, folders and patterns.
        out: the run folder; runs/NAME after the first source where it is not given.
        preset: the model's shape; `smith`, at a size chosen for the text, where it is not given.
        tokens: how many tokens to train on. With `resume`, how many in all.
        params: about how many parameters the blocks should have.
        tokenizer: the kind of tokenizer, or the path of one in Hugging Face's format.
        validation: texts to validate on, instead of a share of the sources.
        until_loss: stop once the validation loss, in nats a token, is at or below this.
        config: a run.toml to take settings from.
        settings: changes such as `model.num_layers=6`, on top of everything.
        resume: a run to go on with, instead of sources.

    Returns:
        run, status (`finished`, `reached`, `stopped`), step, num_parameters, num_tokens, validation_loss (nats a
        token), bits_per_byte, perplexity, train_loss, best_step, tokens_per_second, seconds, device, dtype.

    Raises:
        UserError: a text, a setting or a folder cannot be used; nothing is left half-written.
    """
    started = time.monotonic()
    if resume is not None:
        fresh = [sources, out, preset, params, tokenizer, validation, config, settings]
        if any(fresh):
            raise UserError(
                "--resume takes the run's own text and settings: with it, give only --tokens and --until-loss"
            )
        session = _resumed(Run.open(resume), tokens, until_loss)
    else:
        if not sources:
            raise UserError("name the text to train on: files, folders or patterns")
        asked: dict[str, Any] = {
            "sources": [str(source) for source in sources],
            "validation": [str(text) for text in validation],
            "tokens": tokens,
            "params": params,
        }
        table: dict[str, Any] = {"asked": {key: value for key, value in asked.items() if value is not None}}
        if preset is not None:
            table["asked"]["preset"] = preset
        if tokenizer is not None:
            known_path = Path(tokenizer).exists()
            table["tokenizer"] = {"kind": "huggingface", "path": tokenizer} if known_path else {"kind": tokenizer}
        if until_loss is not None:
            table["train"] = {"until_loss": until_loss}
        below = read_toml(Path(config)) if config is not None else {}
        below.pop("format_version", None)
        session = _fresh(with_assignments(merged(below, table), settings), _free_folder(out, sources[0]))
    return session.run_to_end(started)


def _free_folder(out: str | Path | None, source: str | Path) -> Path:
    """The folder of a new run: the one that was asked for, or the first free name after the text."""
    if out is not None:
        folder = Path(out)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            Run.create(folder, {}, {})  # raises the error that says why
        return folder
    name = Path(source).resolve().stem.strip(".*") or "run"
    candidates = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in range(1, 10**6))
    return next(folder for folder in candidates if not folder.exists())


def _fresh(table: dict[str, Any], folder: Path) -> Session:
    """A session of a new run: reads the text, then chooses what nobody has set."""
    base = preset_settings(table["asked"].get("preset", "smith"))
    # Checked before any text is read, with stand-ins for what only the text decides.
    stand_ins = {"model": base, "train": {"num_steps": 1, "batch_size": 1}}
    early = RunSettings.parse(merged(stand_ins, table))
    device = choose_device(early.train.device)
    choose_dtype(early.train.dtype, device)
    asked = early.asked
    data = prepare(
        asked.sources,
        settings=early.data,
        tokenizer=early.tokenizer,
        validation=asked.validation,
        seed=early.train.seed,
    )
    sized = "preset" not in asked.model_fields_set or asked.preset == "smith"
    planned = plan(len(data.train), asked.tokens, asked.params)
    if asked.params is not None and not sized:
        raise UserError(f"--params chooses the size of the default model; the preset {asked.preset} has its own")
    model = merged(base, planned.model) if sized else base
    model = merged(model, table.get("model", {}))
    changes = {"vocab_size": data.tokenizer.vocab_size}
    if sized and "context_length" not in table.get("model", {}):
        changes["context_length"] = CONTEXT_LENGTH
    if sized and "num_heads" not in table.get("model", {}) and "embed_dim" in table.get("model", {}):
        changes |= _heads_for(model)
    given_vocabulary = table.get("model", {}).get("vocab_size", 0)
    if given_vocabulary and given_vocabulary < data.tokenizer.vocab_size:
        raise UserError(
            f"model.vocab_size={given_vocabulary} is too small for this tokenizer's {data.tokenizer.vocab_size} words: "
            "leave it out, or set tokenizer.vocab_size"
        )
    changes["vocab_size"] = max(changes["vocab_size"], given_vocabulary)
    model = merged(model, changes)
    context = model["context_length"]
    train_table = table.get("train", {})
    batch_size = train_table.get("batch_size", max(1, planned.tokens_per_step // context))
    num_steps = train_table.get("num_steps", max(1, round(planned.num_tokens / (batch_size * context))))
    chosen = {"model": model, "train": {"batch_size": batch_size, "num_steps": num_steps}}
    settings = RunSettings.parse(merged(merged(table, {"model": model}), {"train": {**chosen["train"], **train_table}}))

    run = Run.create(folder, settings.plain(), run_schema())
    data.tokenizer.save(run.folder)
    write_json(run.folder / "data.json", {"fingerprint": data.fingerprint, **data.summary})
    return Session(run, settings, data)


def _heads_for(model: dict[str, Any]) -> dict[str, Any]:
    """Heads of the default model for a width that somebody set."""
    shape = smith_shape(model["embed_dim"], model["num_layers"])
    return {
        "num_heads": shape["num_heads"],
        "head_dim": shape["head_dim"],
        "attention": {**model["attention"], "num_kv_heads": shape["attention"]["num_kv_heads"]},
    }


def _resumed(run: Run, tokens: int | None, until_loss: float | None) -> Session:
    """A session that goes on with a run, for more tokens or to a lower loss where asked."""
    table = run.settings()
    settings = RunSettings.parse(table, str(run.folder / "run.toml"))
    changes: dict[str, Any] = {}
    if tokens is not None:
        tokens_per_step = settings.train.batch_size * settings.model.context_length
        changes["num_steps"] = max(1, round(tokens / tokens_per_step))
    if until_loss is not None:
        changes["until_loss"] = until_loss
    if changes:
        settings = RunSettings.parse(merged(table, {"train": changes}))
    data = prepare(
        settings.asked.sources,
        settings=settings.data,
        tokenizer=settings.tokenizer,
        validation=settings.asked.validation,
        seed=settings.train.seed,
    )
    if data.fingerprint != read_json(run.folder / "data.json")["fingerprint"]:
        raise UserError(
            f"the text of {run.folder} has changed since it was trained on: bring the old text back, "
            "or start a new run (gptsmith pretrain)"
        )
    session = Session(run, settings, data)
    session.go_on()
    if session.state.step >= settings.train.num_steps:
        done = session.state.num_tokens
        raise UserError(f"{run.folder} is finished after {done:,} tokens: go on with --tokens of more than that")
    run.write_settings(settings.plain())
    return session


class Session:
    """One sitting of a run: its data, its model, and where it stands."""

    def __init__(self, run: Run, settings: RunSettings, data: PreparedData) -> None:
        self.run, self.settings, self.data = run, settings, data
        train_settings = settings.train
        keep_freed_memory()
        self.device = choose_device(train_settings.device)
        self.dtype = choose_dtype(train_settings.dtype, self.device)
        torch.manual_seed(train_settings.seed)
        self.model = GPT(settings.model, seed=train_settings.seed)
        if self.dtype == torch.float64:
            self.model.double()
        self.model.to(self.device).compute_dtype = self.dtype
        self.optimizer: Optimizer = train_settings.optimizer.build(self.model)
        self.state = TrainState()
        self.windows = Windows(data.train, settings.model.context_length, train_settings.seed)
        self.num_bytes_per_token = data.tokenizer.num_bytes_per_token
        self.whole_score: tuple[int, LanguageScore] | None = None
        self.stop_asked = False

    def go_on(self) -> None:
        """Takes up the newest checkpoint that is whole."""
        checkpoint = self.run.newest(note)
        load_weights(self.model, checkpoint)
        self.optimizer.load_state(load_file(checkpoint.folder / "optimizer.safetensors"))
        torch.set_rng_state(load_file(checkpoint.folder / "randomness.safetensors")["cpu"])
        self.state = TrainState(**checkpoint.read("train_state.json"))

    def run_to_end(self, started: float) -> dict[str, Any]:
        """Trains, measures the best weights on the whole validation set, and keeps the figures."""
        settings, state = self.settings.train, self.state
        self._say_what_comes()
        tokens_before, seconds_before = state.num_tokens, state.seconds
        with meter("training", settings.num_steps) as bar, self._asked_to_stop():
            self.bar = bar
            hooks = Hooks(
                self._read, self._validation_loss, self._sample, self._save, self._observe, lambda: self.stop_asked
            )
            status = train(self.model, self.optimizer, state, settings, self.settings.checkpoint, hooks)
        trained_s = max(state.seconds - seconds_before, 1e-9)
        if status == "stopped":
            note(f"stopped and saved at step {state.step:,}. Go on with: gptsmith pretrain --resume {self.run.folder}")
        figures: dict[str, Any] = {
            "run": str(self.run.folder),
            "status": status,
            "step": state.step,
            "num_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "num_tokens": state.num_tokens,
            "train_loss": state.train_loss,
            **self._final_figures(status),
            "tokens_per_second": (state.num_tokens - tokens_before) / trained_s,
            "seconds": time.monotonic() - started,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        if status != "stopped":
            write_json(self.run.folder / "result.json", figures)
        self.run.log.append("end", **figures)
        return figures

    def _final_figures(self, status: str) -> dict[str, Any]:
        if self.data.validation is None or self.state.best_step is None:
            return {}
        if status == "stopped":
            return {"validation_loss": self.state.validation_loss, "best_step": self.state.best_step}
        if self.state.best_step != self.state.step:
            note(f"the validation loss was lowest at step {self.state.best_step:,}: those weights are the result")
            best = [c for c in list_checkpoints(self.run.checkpoints) if c.step == self.state.best_step]
            load_weights(self.model, best[0])
        if self.whole_score is None or self.whole_score[0] != self.state.best_step:
            with meter("measuring the validation loss", len(self.data.validation)) as bar:
                score = score_language(self.model, self.data.validation, self.num_bytes_per_token, observe=bar.update)
        else:
            score = self.whole_score[1]
        return {
            "validation_loss": score.validation_loss,
            "bits_per_byte": score.bits_per_byte,
            "perplexity": score.perplexity,
            "best_step": self.state.best_step,
        }

    def _say_what_comes(self) -> None:
        settings, config, data = self.settings.train, self.settings.model, self.data
        num_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        tokens = settings.num_steps * settings.batch_size * config.context_length
        self._say_what_was_read()
        held_back = f"{len(data.validation):,} to validate" if data.validation is not None else "none to validate"
        note(
            f"[bold]{self.run.folder}[/bold]: {num_parameters / 1e6:.2f}M parameters "
            f"({config.num_layers} layers, width {config.embed_dim}, context {config.context_length}, "
            f"vocabulary {config.vocab_size:,}) on {self.device}, {str(self.dtype).removeprefix('torch.')}"
        )
        note(
            f"text: {len(data.train):,} tokens to train ({readable_bytes(data.train.num_bytes)}), {held_back}; "
            f"{settings.num_steps:,} steps of {settings.batch_size * config.context_length:,} tokens "
            f"= {tokens / max(len(data.train), 1):.1f} epochs"
        )
        if self.state.step:
            note(f"going on at step {self.state.step:,}")
        self.run.log.append("start", step=self.state.step, num_parameters=num_parameters, device=str(self.device))

    def _say_what_was_read(self) -> None:
        summary = self.data.summary
        duplicates, skipped = summary["num_duplicates"], summary["skipped"]
        note(
            f"read: {summary['num_files']:,} files, {summary['num_documents']:,} documents"
            + (f", {duplicates:,} exact duplicates dropped" if duplicates else "")
            + (f", {len(skipped):,} files passed over:" if skipped else "")
        )
        for path, reason in list(skipped.items())[:SKIPPED_SHOWN]:
            note(escape(f"  {path}: {reason}"))
        if len(skipped) > SKIPPED_SHOWN:
            note(f"  and {len(skipped) - SKIPPED_SHOWN:,} more, listed in {self.run.folder / 'data.json'}")

    def _read(self, first_sample: int, num_samples: int) -> list[Batch]:
        micro = self.settings.train.micro_batch_size or num_samples
        batches = []
        for start in range(0, num_samples, micro):
            input_ids, targets = self.windows.batch(first_sample + start, min(micro, num_samples - start))
            batches.append(
                Batch(torch.from_numpy(input_ids).to(self.device), torch.from_numpy(targets).to(self.device))
            )
        return batches

    def _validation_loss(self, whole: bool) -> float | None:
        stream = self.data.validation
        if stream is None:
            return None
        limit = None if whole else self.settings.train.evaluation_tokens
        score = score_language(self.model, stream, self.num_bytes_per_token, max_tokens=limit)
        if score.num_tokens == len(stream):
            self.whole_score = (self.state.step, score)
        self.run.log.append(
            "evaluation",
            step=self.state.step,
            validation_loss=score.validation_loss,
            bits_per_byte=score.bits_per_byte,
            num_tokens=score.num_tokens,
        )
        note(
            f"step {self.state.step:,}: validation loss {score.validation_loss:.4f}, "
            f"{score.bits_per_byte:.3f} bits per byte"
        )
        return score.validation_loss

    def _sample(self) -> None:
        generation = generate(self.model, self.data.tokenizer, max_tokens=SAMPLE_TOKENS, seed=self.state.step)
        text = "".join(generation)
        self.run.log.append("sample", step=self.state.step, text=text)
        note(f"[dim]sample: {escape(' '.join(text.split()))}[/dim]")

    def _save(self) -> None:
        self.run.save_checkpoint(
            self.state.step,
            self.model,
            self.optimizer.state(),
            {"cpu": torch.get_rng_state()},
            self.state.plain(),
        )
        retain(self.run.checkpoints, self.settings.checkpoint.keep, self.state.best_step)

    def _observe(self, learning_rate_share: float) -> None:
        state = self.state
        rate = state.num_tokens / max(state.seconds, 1e-9)
        validation = f"  validation {state.validation_loss:.3f}" if state.validation_loss is not None else ""
        self.bar.update(state.step, f"loss {state.train_loss:.3f}{validation}  {rate:,.0f} tokens/s")
        if state.step % LOG_EVERY_STEPS == 0:
            self.run.log.append(
                "step",
                step=state.step,
                num_tokens=state.num_tokens,
                train_loss=state.train_loss,
                learning_rate_share=learning_rate_share,
                seconds=state.seconds,
            )

    bar: Meter

    @contextmanager
    def _asked_to_stop(self) -> Iterator[None]:
        """While the block runs, Ctrl-C asks for an end at the next step; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(*_: object) -> None:
            self.stop_asked = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
