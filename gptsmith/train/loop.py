"""The training loop: steps, and between them evaluations, samples and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gptsmith.model.gpt import GPT
from gptsmith.train.objectives import Batch
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.schedule import learning_rate_share
from gptsmith.train.settings import CheckpointSettings, TrainSettings
from gptsmith.train.state import TrainState
from gptsmith.train.step import train_step


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of whoever runs it."""

    read: Callable[[int, int], list[Batch]]
    """The micro-batches of a step, given the first sample and how many."""
    validation_loss: Callable[[bool], float | None]
    """Nats a token, of the whole validation set or of a share of it; nothing where there is no validation set."""
    sample: Callable[[], None]
    """Lets the model write something and shows it."""
    save: Callable[[], None]
    """Saves the model and the state as they are."""
    observe: Callable[[float], None]
    """Sees the state after each step, with the learning rate's share."""
    should_stop: Callable[[], bool]
    """Whether someone asked to stop."""


def train(
    model: GPT,
    optimizer: Optimizer,
    state: TrainState,
    settings: TrainSettings,
    checkpoint: CheckpointSettings,
    hooks: Hooks,
) -> str:
    """Trains until the steps are done, the loss is reached or someone asks to stop; returns which:
    `finished`, `reached` or `stopped`. The state is saved in each case."""
    saved_at = time.monotonic()
    saved_step: int | None = None
    ended = "finished"

    def save() -> None:
        nonlocal saved_at, saved_step
        hooks.save()
        saved_at, saved_step = time.monotonic(), state.step

    model.train()
    while state.step < settings.num_steps:
        started = time.monotonic()
        share = learning_rate_share(state.step, settings.num_steps, settings.schedule)
        batches = hooks.read(state.num_samples, settings.batch_size)
        state.train_loss = train_step(model, settings.objective, optimizer, batches, share)
        state.step += 1
        state.num_samples += settings.batch_size
        state.num_tokens += sum(int((batch.targets >= 0).sum()) for batch in batches)
        state.seconds += time.monotonic() - started
        hooks.observe(share)

        if hooks.should_stop():
            ended = "stopped"
            break
        if state.step % settings.evaluate_every_steps == 0 or state.step == settings.num_steps:
            improved = evaluate(model, state, settings, hooks)
            if settings.until_loss is not None and (state.validation_loss or float("inf")) <= settings.until_loss:
                ended = "reached"
                break
            if improved:
                save()
        if state.step % settings.sample_every_steps == 0 and state.step < settings.num_steps:
            model.eval()
            hooks.sample()
            model.train()
        if time.monotonic() - saved_at > checkpoint.every_minutes * 60:
            save()
    if saved_step != state.step:
        save()
    model.eval()
    return ended


def evaluate(model: GPT, state: TrainState, settings: TrainSettings, hooks: Hooks) -> bool:
    """Measures the validation loss into the state; says whether it is the best so far.

    A share of the validation set is read first; the whole of it only where that could end the run.
    """
    model.eval()
    started = time.monotonic()
    loss = hooks.validation_loss(False)
    if loss is not None and settings.until_loss is not None and loss <= settings.until_loss:
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
