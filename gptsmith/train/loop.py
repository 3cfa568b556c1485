"""The training loop: steps, and between them evaluations, samples and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.sharding import is_sharded
from gptsmith.run.train_state import TrainState
from gptsmith.train.batch import Batch
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.schedule import lr_multiplier
from gptsmith.train.settings import CheckpointSettings, TrainSettings
from gptsmith.train.stability import StepOutcome, TrainingDivergedError, gradient_norm, is_out_of_memory, judge
from gptsmith.train.step import accumulate


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of whoever runs it."""

    read: Callable[[int, int, int], list[Batch]]
    """The micro-batches of a step, given the first sample, how many samples, and how many of them at a time."""
    validation_loss: Callable[[bool], float | None]
    """Nats a token, of the whole validation set or of a share of it; nothing where there is no validation set."""
    sample: Callable[[], None]
    """Lets the model write something and shows it."""
    save: Callable[[], None]
    """Saves the model and the state as they are."""
    observe: Callable[[StepFigures], None]
    """Sees the state after each step."""
    should_stop: Callable[[], bool]
    """Whether someone asked to stop."""
    num_steps: Callable[[], int]
    """How many steps the recorded plan has."""
    refused: Callable[[StepOutcome, str], None]
    """Sees what is done about a step that is not taken, and why."""
    roll_back: Callable[[], bool]
    """Takes up the weights of the last checkpoint, if there is one, and none of its place in the data."""
    diagnosis: Callable[[list[Batch]], str]
    """Names what is sick: a layer, a document."""


@dataclass(frozen=True)
class StepFigures:
    """What a step has to show besides the state."""

    lr_multiplier: float
    gradient_norm: float
    seconds: float
    num_tokens: int


def train(
    model: GPT,
    optimizer: Optimizer,
    state: TrainState,
    settings: TrainSettings,
    checkpoint: CheckpointSettings,
    hooks: Hooks,
    processes: Processes = SINGLE_PROCESS,
) -> str:
    """Trains until the steps are done, the loss is reached or someone asks to stop; returns which:
    `finished`, `reached`, `early` (the validation loss only rose for long) or `stopped`. The state is saved in each
    case.

    Several processes call it together, each with its copy of everything; whatever depends on a clock, on memory or on
    a person is decided by all of them together, so that their copies stay the same.

    Raises:
        UserError: the run is sick and cannot be cured by passing data over, or memory is too small for one window.
    """
    saved_at = time.monotonic()
    saved_step: int | None = None
    ended = "finished"

    def save() -> None:
        nonlocal saved_at, saved_step
        hooks.save()
        saved_at, saved_step = time.monotonic(), state.step

    model.train()
    if settings.evaluate_at_start and state.step == 0 and evaluate(model, state, settings, hooks):
        save()
    while state.step < hooks.num_steps():
        started = time.monotonic()
        batches, loss, num_tokens = gradients(model, state, settings, hooks, processes)
        norm = gradient_norm(model)
        verdict, problem = judge(state, loss, norm, settings.stability)
        if verdict == "healthy":
            share = lr_multiplier(state.step, hooks.num_steps(), settings.schedule)
            optimizer.step(share)
            state.train_loss = loss
            state.step += 1
            state.num_tokens += num_tokens
        else:
            cure(verdict, problem, batches, hooks)
            optimizer.zero_grad()
        state.num_samples += settings.batch_size
        seconds = time.monotonic() - started
        state.seconds += seconds
        if verdict == "healthy":
            hooks.observe(StepFigures(share, norm, seconds, num_tokens))
        if hooks.should_stop():
            ended = "stopped"
            break
        if verdict != "healthy":
            continue
        last = state.step >= hooks.num_steps()
        if state.step % settings.evaluate_every_steps == 0 or last:
            improved = evaluate(model, state, settings, hooks)
            if settings.target_loss is not None and (state.validation_loss or float("inf")) <= settings.target_loss:
                ended = "target_reached"
                break
            if improved:
                save()
            elif not last and is_past_its_best(state, settings):
                ended = "early_stopped"
                break
        if state.step % settings.sample_every_steps == 0 and not last:
            model.eval()
            hooks.sample()
            model.train()
        due = checkpoint.every_steps is not None and state.step % checkpoint.every_steps == 0
        late = processes.all_reduce_max(time.monotonic() - saved_at > checkpoint.every_minutes * 60)
        if (due and saved_step != state.step) or late:
            save()
    if saved_step != state.step:
        save()
    model.eval()
    return ended


def gradients(
    model: GPT, state: TrainState, settings: TrainSettings, hooks: Hooks, processes: Processes
) -> tuple[list[Batch], float, int]:
    """Fills the gradients of the next step; returns this process's micro-batches, and loss and number of tokens of the
    whole step. Halves the micro-batch for as long as memory runs out anywhere: the step's whole batch, and so its
    result, stays what it was.

    Raises:
        UserError: memory is too small for one window.
    """
    share = settings.batch_size // processes.world_size
    first_sample = state.num_samples + processes.rank * share
    while True:
        micro_batch_size = min(state.micro_batch_size or settings.micro_batch_size or share, share)
        batches = hooks.read(first_sample, share, micro_batch_size)
        tokens = sum(batch.num_tokens for batch in batches)
        loss, ran_out = 0.0, False
        try:
            loss = accumulate(model, settings.objective, batches, processes)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            ran_out = True
        if ran_out and is_sharded(model):
            # The other processes wait within the pass for what this one will never send.
            raise UserError(
                f"memory is too small for {micro_batch_size} windows at a time: set a smaller train.micro_batch_size"
            )
        loss, num_ran_out, num_tokens = processes.all_reduce_sum([loss, ran_out, tokens])
        if not num_ran_out:
            processes.all_reduce_gradients(model)
            return batches, loss, int(num_tokens)
        for parameter in model.parameters():
            parameter.grad = None
        if micro_batch_size == 1:
            raise UserError(
                "memory is too small for one window of this model: set a smaller model.context_length or --params"
            )
        state.micro_batch_size = micro_batch_size // 2
        hooks.refused("out_of_memory", f"memory is too small for {micro_batch_size} windows at a time")


def cure(verdict: StepOutcome, problem: str, batches: list[Batch], hooks: Hooks) -> None:
    """Does what was decided about a step that is not taken.

    Raises:
        TrainingDivergedError: it was decided to stop, or there is no checkpoint to go back to; the message is a
            diagnosis.
    """
    if verdict == "stop" or (verdict == "roll_back" and not hooks.roll_back()):
        raise TrainingDivergedError(f"training stops, because {problem}, again and again: {hooks.diagnosis(batches)}")
    hooks.refused(verdict, problem)


def is_past_its_best(state: TrainState, settings: TrainSettings) -> bool:
    """Whether so many evaluations in a row were worse than the best that no better one is to be hoped for."""
    if settings.patience_evaluations is None or state.best_step is None:
        return False
    return state.step - state.best_step >= settings.patience_evaluations * settings.evaluate_every_steps


def evaluate(model: GPT, state: TrainState, settings: TrainSettings, hooks: Hooks) -> bool:
    """Measures the validation loss into the state; says whether it is the best so far.

    A share of the validation set is read first; the whole of it only where that could end the run.
    """
    model.eval()
    started = time.monotonic()
    loss = hooks.validation_loss(False)
    if loss is not None and settings.target_loss is not None and loss <= settings.target_loss:
        loss = hooks.validation_loss(True)
    state.seconds += time.monotonic() - started
    model.train()
    if loss is None:
        return False
    state.validation_loss, state.validation_step = loss, state.step
    improved = state.best_validation_loss is None or loss < state.best_validation_loss
    if improved:
        state.best_validation_loss, state.best_step = loss, state.step
    return improved
