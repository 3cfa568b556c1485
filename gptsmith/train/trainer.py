"""One sitting of a training run: from its data and its last checkpoint to its figures."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor

from gptsmith.base.console import Meter, meter, note
from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes, write_json
from gptsmith.base.machine import peak_memory_bytes
from gptsmith.base.memory import keep_freed_memory
from gptsmith.base.randomness import derived_seed
from gptsmith.base.runlog import RunLog
from gptsmith.model.cost import cost
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.gpt import GPT
from gptsmith.run.checkpoint import Checkpoint, Retention, first_good, list_checkpoints
from gptsmith.run.contents import CheckpointContents, load_weights, optimizer_tensors, randomness, weights
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.environment import differences, environment
from gptsmith.run.folder import PLAN, RESULT, Run
from gptsmith.run.sharding import is_sharded, shard
from gptsmith.run.train_state import TrainState
from gptsmith.run.writer import CheckpointWriter
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset, Score
from gptsmith.train.loop import Hooks, StepFigures, train
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.planning.minutes import CLOSING_S, said_in_a_line
from gptsmith.train.planning.throughput import product_rate
from gptsmith.train.report import report
from gptsmith.train.run_settings import TrainingSettings
from gptsmith.train.stability import StepOutcome, nonfinite_modules, nonfinite_parameters
from gptsmith.train.trackers import Tracker, TrackSettings, trackers

LOG_EVERY_STEPS = 10
REPLAN_AT = 0.38
"""The share of the time, or of the steps, after which the rest is planned anew. The rate begins to fall at 0.4."""
WARM_UP_STEPS, LEAST_STEPS_TIMED = 3, 5
STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Session:
    """One sitting of a run: its data, its model, and where it stands. Of several processes each has one, and only that
    of the first writes to the run's folder."""

    def __init__(
        self,
        run: Run,
        settings: TrainingSettings,
        training_set: Dataset,
        processes: Processes = SINGLE_PROCESS,
        model: GPT | None = None,
        observers: Sequence[Tracker] = (),
    ) -> None:
        """Begins with `model`, or with a new one where none is given; `observers` see the run's events as they come."""
        self.observers = observers
        self.run, self.settings, self.training_set, self.processes = run, settings, training_set, processes
        if not processes.is_first:
            run.log = RunLog(Path(os.devnull))
        train_settings = settings.train
        keep_freed_memory()
        self.device = processes.local_device(choose_device(train_settings.device))
        self.dtype = choose_dtype(train_settings.dtype, self.device)
        sharded = settings.parallel.shard and processes.world_size > 1
        self.environment = environment(self.device, self.dtype, processes.world_size, sharded)
        self._seed_dropout()
        self.model = model or GPT(settings.model, seed=train_settings.seed)
        if self.dtype == torch.float64:
            self.model.double()
        self.model.compute_dtype = self.dtype
        if sharded:
            shard(self.model, self.device)
        else:
            self.model.to(self.device)
        self.optimizer: Optimizer = train_settings.optimizer.build(self.model)
        self.state = TrainState()
        self.flops_per_token = cost(settings.model).training_flops_per_token
        self.evaluated_seconds, self.evaluated_tokens = 0.0, 0
        self.score: Score | None = None
        self.whole_score: tuple[int, Score] | None = None
        self.stopped_by: signal.Signals | None = None
        self.plan = run.plan()
        checkpoint = settings.checkpoint
        self.writer = CheckpointWriter(
            run.checkpoints, Retention(checkpoint.keep, checkpoint.keep_every_steps), self._warn
        )

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Takes up a checkpoint; says what of the environment has changed since, because bits depend on it."""
        self._take_up(checkpoint)
        self.state = checkpoint.train_state()
        if changed := differences(checkpoint.environment(), self.environment):
            note(f"going on is right, but not bit for bit what an unstopped run gives: {'; '.join(changed)}")

    def _take_up(self, checkpoint: Checkpoint) -> None:
        load_weights(self.model, checkpoint)
        self.optimizer.load_state(optimizer_tensors(checkpoint))
        own = randomness(checkpoint).get(_name_of_randomness(self.processes.rank))
        if own is None:
            self._seed_dropout(checkpoint.step)
        else:
            torch.set_rng_state(own)

    def _seed_dropout(self, step: int = 0) -> None:
        """Each process reads other windows, and drops other numbers of them."""
        seed, rank = self.settings.train.seed, self.processes.rank
        torch.manual_seed(derived_seed(seed, "dropout", rank, step) if rank else seed)

    def run_to_end(self, started: float) -> dict[str, Any]:
        """Trains, measures the best weights on the whole validation set, and keeps the figures.

        Raises:
            UserError: another process trains this run, training cannot go on, or the disk has no room for the result.
        """
        settings, state = self.settings.train, self.state
        self.started = self.timed_from = started
        # Only a run that nothing has interrupted can tell from its own pace what time is left for.
        self.may_replan = "predicted" in self.plan and "replanned" not in self.plan and state.step == 0
        asked_trackers = self.settings.track if self.processes.is_first else TrackSettings()
        self.peak_flops = product_rate(self.device, self.dtype)
        with (
            self.writer,
            trackers(asked_trackers, self.run.folder, self.settings.plain()) as self.run.log.listeners,
        ):
            self.run.log.listeners += self.observers
            self._say_what_comes()
            tokens_before, seconds_before = state.num_tokens, state.seconds
            with meter("training", settings.num_steps) as bar, self._asked_to_stop():
                self.bar = bar
                status = train(
                    self.model,
                    self.optimizer,
                    state,
                    settings,
                    self.settings.checkpoint,
                    self._hooks(),
                    self.processes,
                )
            self.writer.wait()
            if failure := self.processes.broadcast(str(self.writer.failures[-1]) if self.writer.failures else None):
                raise UserError(failure)
        trained_s = max(state.seconds - seconds_before, 1e-9)
        if status == "stopped":
            note(f"stopped and saved at step {state.step:,}. Go on with: {self._way_on}")
        figures: dict[str, Any] = {
            "run": str(self.run.folder),
            "objective": self.settings.train.objective.kind,
            "status": status,
            "step": state.step,
            "num_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "num_tokens": state.num_tokens,
            "train_loss": state.train_loss,
            **self._final_figures(status),
            "tokens_per_second": (state.num_tokens - tokens_before) / trained_s,
            "seconds": time.monotonic() - started,
            "device": str(self.device),
            "dtype": self.environment["dtype"],
        }
        if self.stopped_by is not None:
            figures["signal"] = self.stopped_by.name
        if status != "stopped":
            self._say_how_right_the_plan_was(figures)
            self._keep(RESULT, figures)
        self.run.log.append("end", **figures)
        if self.processes.is_first:
            report(self.run.folder)
        return figures

    def _keep(self, name: str, value: dict[str, Any]) -> None:
        """Writes a JSON file of the run's folder."""
        if self.processes.is_first:
            write_json(self.run.folder / name, value)

    def _hooks(self) -> Hooks:
        return Hooks(
            read=self._read,
            validation_loss=self._validation_loss,
            sample=self._sample,
            save=self._save,
            observe=self._observe,
            should_stop=self._should_stop,
            num_steps=lambda: self.settings.train.num_steps,
            refused=self._refused,
            roll_back=self._roll_back,
            diagnosis=self._diagnosis,
        )

    def _final_figures(self, status: str) -> dict[str, Any]:
        if self.state.best_step is None:
            return {} if status == "stopped" else self.training_set.final_figures(self.model)
        if status == "stopped":
            return {"validation_loss": self.state.validation_loss, "best_step": self.state.best_step}
        if self.state.best_step != self.state.step:
            note(f"the validation loss was lowest at step {self.state.best_step:,}: those weights are the result")
            best = [c for c in list_checkpoints(self.run.checkpoints) if c.step == self.state.best_step]
            load_weights(self.model, best[0])
        if self.whole_score is None or self.whole_score[0] != self.state.best_step:
            with meter("measuring the validation loss", self.training_set.num_validation_tokens) as bar:
                score = self.training_set.score(self.model, observe=bar.update, processes=self.processes)
        else:
            score = self.whole_score[1]
        closing = self.training_set.final_figures(self.model)
        return {**score.figures, "best_step": self.state.best_step, **closing}

    def _say_what_comes(self) -> None:
        settings, config, samples = self.settings.train, self.settings.model, self.training_set
        num_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        tokens_per_step = settings.batch_size * samples.tokens_per_sample
        epochs = settings.num_steps * settings.batch_size / max(samples.num_samples, 1)
        note(
            f"[bold]{self.run.folder}[/bold]: {num_parameters / 1e6:.2f}M parameters "
            f"({config.num_layers} layers, width {config.embed_dim}, context {config.context_length}, "
            f"vocabulary {config.vocab_size:,}) on {self.device}, {self.environment['dtype']}"
        )
        for line in samples.description():
            note(line)
        note(f"{settings.num_steps:,} steps of {tokens_per_step:,.0f} tokens = {epochs:.1f} epochs")
        if "predicted" in self.plan:
            note(said_in_a_line(self.plan["predicted"]))
        if self.state.step:
            note(f"going on at step {self.state.step:,}")
        self.run.log.append("start", step=self.state.step, num_parameters=num_parameters, environment=self.environment)

    def _read(self, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        return self.training_set.batches(self.model, first_sample, num_samples, micro_batch_size)

    def _validation_loss(self, whole: bool) -> float | None:
        if not self.training_set.num_validation_tokens:
            return None
        limit = None if whole else self.settings.train.evaluation_tokens
        evaluation_started = time.monotonic()
        score = self.training_set.score(self.model, max_tokens=limit, processes=self.processes)
        self.evaluated_seconds += time.monotonic() - evaluation_started
        self.evaluated_tokens += score.num_tokens
        self.score = score
        if score.is_whole:
            self.whole_score = (self.state.step, score)
        self.state.validation_bits_per_byte = score.figures.get("bits_per_byte")
        self.run.log.append("evaluation", step=self.state.step, num_tokens=score.num_tokens, **score.figures)
        note(f"step {self.state.step:,}: {figures_in_a_line(score)}")
        return score.validation_loss

    def _sample(self) -> None:
        if not (self.processes.is_first or is_sharded(self.model)):
            return
        if text := self.training_set.sample(self.model, self.state.step):
            self.run.log.append("sample", step=self.state.step, text=text)
            note(f"[dim]sample: {escape(' '.join(text.split()))}[/dim]")

    def _save(self) -> None:
        """Copies what moves, and has the copy written while training goes on."""
        generators = self.processes.all_gather(torch.get_rng_state())
        if not (self.processes.is_first or is_sharded(self.model)):
            return
        contents = CheckpointContents(
            config=self.model.config,
            weights=_copied(weights(self.model)),
            settings=self.settings.plain(),
            environment=self.environment,
            train_state=deepcopy(self.state),
            optimizer=_copied(self.optimizer.state()),
            randomness={_name_of_randomness(rank): state for rank, state in enumerate(generators)},
        )
        if self.processes.is_first:
            self.writer.save(self.state.step, contents.num_bytes, contents.write, self.state.best_step)

    def _replan(self) -> None:
        """Once, before the rate begins to fall: sets the number of steps so that the last one comes in time."""
        num_steps = self.processes.broadcast(self._num_steps_in_time())
        if num_steps is None:
            return
        self.may_replan = False
        state, train = self.state, self.settings.train
        self.plan["replanned"] = {"at_step": state.step, "num_steps_before": train.num_steps, "num_steps": num_steps}
        self._keep(PLAN, self.plan)
        table = self.settings.plain()
        table["train"]["num_steps"] = num_steps
        self.settings = type(self.settings).parse(table)
        if self.processes.is_first:
            self.run.write_settings(table)
        self.run.log.append("replanned", step=state.step, **self.plan["replanned"])
        self.bar.resize(num_steps)
        note(f"[dim]at this pace {num_steps:,} steps come in time, not {train.num_steps:,}: so many it will be[/dim]")

    def _num_steps_in_time(self) -> int | None:
        """How many steps come in time at the pace so far; nothing where it is too early to tell."""
        state, train = self.state, self.settings.train
        now = time.monotonic()
        if state.step <= WARM_UP_STEPS:
            self.timed_from = now
        timed_steps, timed_s = state.step - WARM_UP_STEPS, now - self.timed_from
        if timed_steps < LEAST_STEPS_TIMED:
            return None
        left = self.plan["predicted"]["seconds"] - (now - self.started) - CLOSING_S - self._whole_evaluation_seconds()
        in_time = state.step + max(0, int(left * timed_steps / timed_s))
        if state.step < REPLAN_AT * min(train.num_steps, in_time):
            return None
        constant_share = 1 - train.schedule.decay_fraction
        return max(in_time, math.ceil(state.step / constant_share) if constant_share else state.step)

    def _whole_evaluation_seconds(self) -> float:
        if not self.evaluated_tokens:
            return 0.0
        return self.evaluated_seconds / self.evaluated_tokens * self.training_set.num_validation_tokens

    def _say_how_right_the_plan_was(self, figures: dict[str, Any]) -> None:
        """Keeps what came beside what was said, and shows both."""
        if not self.plan:
            return
        came: dict[str, Any] = {
            name: figures[name] for name in ("seconds", "num_tokens", "bits_per_byte") if name in figures
        }
        came["peak_memory_bytes"] = peak_memory_bytes()
        self.plan["actual"] = came
        self._keep(PLAN, self.plan)
        said = self.plan["predicted"]
        parts = [f"{came['seconds']:.0f} s of {said['seconds']:.0f}"]
        if said.get("peak_memory_bytes") and came["peak_memory_bytes"]:
            parts.append(
                f"{readable_bytes(came['peak_memory_bytes'])} of memory of {readable_bytes(said['peak_memory_bytes'])}"
            )
        if "bits_per_byte" in said and "bits_per_byte" in came:
            parts.append(
                f"{came['bits_per_byte']:.3f} bits per byte, {said['bits_per_byte_low']:.3f} to "
                f"{said['bits_per_byte_high']:.3f} expected"
            )
        note(f"the plan and what came: {'; '.join(parts)}")

    def _observe(self, step: StepFigures) -> None:
        state = self.state
        if self.may_replan:
            self._replan()
        rate = state.num_tokens / max(state.seconds, 1e-9)
        validation = f"  validation {state.validation_loss:.3f}" if state.validation_loss is not None else ""
        bits = f" ({state.validation_bits_per_byte:.3f} bits per byte)" if state.validation_bits_per_byte else ""
        peak_share = rate * self.flops_per_token / self.processes.world_size / self.peak_flops
        self.bar.update(
            state.step, f"loss {state.train_loss:.3f}{validation}{bits}  {rate:,.0f} tokens/s, {peak_share:.0%} of peak"
        )
        if state.step % LOG_EVERY_STEPS == 0:
            self.run.log.append(
                "step",
                step=state.step,
                num_tokens=state.num_tokens,
                train_loss=state.train_loss,
                lr_multiplier=step.lr_multiplier,
                gradient_norm=step.gradient_norm,
                tokens_per_second=step.num_tokens / step.seconds,
                seconds=state.seconds,
                peak_share=peak_share,
            )

    bar: Meter

    def _warn(self, message: str) -> None:
        self.run.log.append("warning", step=self.state.step, message=message)
        note(f"[yellow]{escape(message)}[/yellow]")

    def _refused(self, verdict: StepOutcome, problem: str) -> None:
        done = {
            "skip": "the step is not taken",
            "roll_back": f"the weights of step {self.state.step:,} are taken up again",
            "out_of_memory": f"now {self.state.micro_batch_size} at a time, the step stays the same",
        }[verdict]
        self.run.log.append(verdict, step=self.state.step, sample=self.state.num_samples, problem=problem)
        note(f"[yellow]step {self.state.step + 1:,}: {problem}; {done}[/yellow]")

    def _roll_back(self) -> bool:
        """Takes up the newest good checkpoint's weights; the data goes on from where it is now."""
        self.writer.wait()
        if not self.processes.broadcast(bool(list_checkpoints(self.run.checkpoints))):
            return False
        checkpoint = first_good(list_checkpoints(self.run.checkpoints), self.run.folder, self._warn)
        now = self.state
        self._take_up(checkpoint)
        then = checkpoint.train_state()
        for name in ("step", "num_tokens", "validation_loss", "validation_step", "best_validation_loss", "best_step"):
            setattr(now, name, getattr(then, name))
        now.recent_losses = then.recent_losses
        return True

    def _diagnosis(self, batches: list[Batch]) -> str:
        """Names the layer, the batch and the document, as far as they can be found."""
        in_weights, in_gradients = nonfinite_parameters(self.model)
        first, count = self.state.num_samples, self.settings.train.batch_size
        if self.processes.world_size > 1:  # the sick window may be another process's
            batches = self._read(first, count, len(batches[0].input_ids))
        with torch.no_grad(), nonfinite_modules(self.model) as names:
            for batch in batches:
                self.model.hidden(batch.input_ids)
        found = [f"samples {first:,} to {first + count - 1:,}, from {self.training_set.origin(first, count)}"]
        if names:
            found.append(f"the first output that is not finite is that of {names[0]}")
        if in_weights or in_gradients:
            found.append(
                f"{(in_weights or in_gradients)[0]} has {'weights' if in_weights else 'gradients'} of that kind"
            )
        advice = f"look there, or go on past it with lower rates: {self._way_on}"
        return "; ".join([*found, advice])

    @property
    def _way_on(self) -> str:
        return f"gptsmith {self.settings.made_by} --resume {self.run.folder}"

    def _should_stop(self) -> bool:
        """Whether any process was asked to stop."""
        number = self.processes.all_reduce_max(self.stopped_by or 0)
        if number:
            self.stopped_by = signal.Signals(number)
        return bool(number)  # a signal that comes just now counts at the next step, when the others know of it

    @contextmanager
    def _asked_to_stop(self) -> Iterator[None]:
        """While the block runs, Ctrl-C or SIGTERM asks for an end at the next step; a second one ends at once.

        Not so with several processes: torchrun passes on what a terminal has told all of them already, and sends
        another one to those that are still there when the first of them has left.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, _: object) -> None:
            self.stopped_by = signal.Signals(number)
            for one in STOPPING_SIGNALS:
                signal.signal(one, after[one])

        before = {number: signal.signal(number, ask) for number in STOPPING_SIGNALS}
        after = before if self.processes.world_size == 1 else dict.fromkeys(STOPPING_SIGNALS, signal.SIG_IGN)
        try:
            yield
        finally:
            for number in STOPPING_SIGNALS:
                signal.signal(number, after[number] if self.stopped_by else before[number])


def _name_of_randomness(rank: int) -> str:
    """What the state of a process's generator is called in a checkpoint."""
    return f"cpu.{rank}" if rank else "cpu"


def figures_in_a_line(score: Score) -> str:
    """`validation loss 1.2345, 1.678 bits per byte, accuracy 0.91`: what is known of a model, for a person."""
    parts = [f"validation loss {score.validation_loss:.4f}"]
    for name, value in score.figures.items():
        if name == "bits_per_byte":
            parts.append(f"{value:.3f} bits per byte")
        elif name not in ("validation_loss", "perplexity"):
            parts.append(f"{name.replace('_', ' ')} {value:.3f}")
    return ", ".join(parts)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}
