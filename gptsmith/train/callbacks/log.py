"""The record of a run: metrics.jsonl, result.json and report.html, and the notes at its start."""

from __future__ import annotations

from typing import Any

from gptsmith.base.console import note, styled
from gptsmith.base.files import write_json
from gptsmith.base.hints import shell_command
from gptsmith.run.folder import RESULT
from gptsmith.train.callbacks.throughput import Throughput
from gptsmith.train.planning.recorded_plan import RecordedPlan
from gptsmith.train.report import MUCH, forgetting_in_a_line, report
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

LOG_EVERY_STEPS = 10


class Log(Callback):
    """Records every few steps and the result."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_start(self, trainer: Trainer) -> None:
        settings, config, dataset = trainer.settings.train, trainer.settings.model, trainer.dataset
        tokens_per_step = settings.batch_size * dataset.tokens_per_sample
        epochs = settings.num_steps * settings.batch_size / max(dataset.num_samples, 1)
        layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
        described = (
            f"{trainer.num_parameters / 1e6:.2f}M parameters ({layers}, width {config.embed_dim}, "
            f"context {config.context_length}, vocabulary {config.vocab_size:,}) on {trainer.device}, "
            f"{trainer.environment['dtype']}"
        )
        note(styled("[bold]{}[/bold]: {}", trainer.run.place, described))
        for line in dataset.description():
            note(line)
        note(f"{settings.num_steps:,} steps of {tokens_per_step:,.0f} tokens = {epochs:.1f} epochs")
        if (plan := RecordedPlan(trainer.run)).predicted:
            note(plan.in_a_line(trainer.seconds_before))
        note(styled("watch it: [bold]{}[/bold]", shell_command("watch", trainer.run.folder)))
        if trainer.state.step:
            note(f"resumed from step {trainer.state.step:,}")
        trainer.run.log.append(
            "start",
            step=trainer.state.step,
            num_parameters=trainer.num_parameters,
            environment=trainer.environment,
        )

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        state = trainer.state
        if state.step % LOG_EVERY_STEPS == 0:
            trainer.run.log.append(
                "step",
                step=state.step,
                num_tokens=state.num_tokens,
                **({} if state.train_loss is None else {"train_loss": state.train_loss}),
                lr_multiplier=step.lr_multiplier,
                gradient_norm=step.gradient_norm,
                tokens_per_second=step.num_tokens / seconds,
                seconds=state.seconds,
                mfu=self.throughput.mfu(trainer),
                **step.load.figures(),
                **trainer.dataset.step_figures(trainer.processes),
            )

    def on_end(self, trainer: Trainer, figures: dict[str, Any]) -> None:
        if trainer.status != "stopped" and trainer.processes.is_first:
            write_json(trainer.run.folder / RESULT, figures)
        trainer.run.log.append("end", **figures)
        if line := forgetting_in_a_line(figures):
            is_much = MUCH in line
            note(
                f"{line} (a lower --learning-rate or fewer epochs keep more)" if is_much else line,
                "bold" if is_much else "",
            )
        if trainer.processes.is_first:
            report(trainer.run.folder)
