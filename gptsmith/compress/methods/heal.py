"""Training of a smaller model until it predicts what the original does (Hinton et al. 2015), on the original's text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes, write_json
from gptsmith.base.leftovers import temporary_folder
from gptsmith.compress.difference import difference
from gptsmith.compress.healing_dataset import HealingDataset
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.compress.straight_through import is_fake_quantized, require_trainable, stored, trainable
from gptsmith.convert.load import Loaded
from gptsmith.model.config import GPTConfig
from gptsmith.model.device import choose_dtype
from gptsmith.model.gpt import GPT
from gptsmith.run.contents import load_trained_weights
from gptsmith.run.folder import PLAN, Run
from gptsmith.train.callbacks.checkpoint import SaveCheckpoints
from gptsmith.train.callbacks.evaluate import Evaluate
from gptsmith.train.callbacks.progress import Progress
from gptsmith.train.callbacks.recover import Recover
from gptsmith.train.callbacks.replan import Replan
from gptsmith.train.callbacks.signals import StopOnSignal
from gptsmith.train.callbacks.throughput import Throughput
from gptsmith.train.finetuning import FinetuningJob
from gptsmith.train.finetuning_defaults import training_table, usual_learning_rate
from gptsmith.train.objectives.distillation import DistillationSettings
from gptsmith.train.planning.finetuning_plan import (
    FinetuningPlan,
    TooLittleMemoryError,
    TooLittleTimeError,
    plan_finetuning,
)
from gptsmith.train.planning.recorded_plan import RecordedPlan
from gptsmith.train.run_settings import FinetuneSettings
from gptsmith.train.trainer import Callback, Trainer

MOST_EPOCHS = 16
"""The original tells more of a text than the text itself: it can be read more often than in a training from labels."""
PRUNED_RATE = 3
"""The learning rate of pruned models, as a multiple of the usual one of a distillation, which weights in blocks have:
they would flutter at a higher one (LOG.md)."""
STOPPING = "stopping after this step: the best weights so far are kept"


class HealMethodSettings(MethodSettings):
    """All weights learn the original's probabilities of every token. Those in blocks are trained in float32 and rounded
    in each forward pass, and for good at the end."""

    kind: Literal["heal"] = "heal"
    minutes: float = Field(default=5.0, gt=0)
    """The time of the training, with its evaluations."""

    @property
    def name(self) -> str:
        return "healed"

    @classmethod
    def names(cls) -> Mapping[str, Mapping[str, Any]]:
        return {}  # --heal-minutes asks for it

    def require(self, config: GPTConfig, material: Material) -> GPTConfig:
        require_trainable(config)
        folder = material.run.folder
        if material.original.config.num_labels:
            raise UserError(
                f"--heal-minutes: {folder} predicts labels or rewards, and healing teaches probabilities of tokens: "
                "leave it out, and fine-tune the smaller run on the examples"
            )
        try:
            _ = material.training
        except UserError as error:
            raise UserError(f"--heal-minutes needs text, by --text, or what {folder} was trained on: {error}") from None
        return config

    def compress(self, model: GPT, material: Material) -> GPT:
        started = time.monotonic()
        dataset = HealingDataset(material.training, material)
        before = difference(material.original, model, material.validation_windows())
        student = trainable(model, material.unrounded)
        student.compute_dtype = choose_dtype("auto", model.device)
        with temporary_folder(private_folder(default_cache()) / "healing", private=True) as folder:
            planned = self._plan(_job(student, dataset, material, self.minutes), started)
            run = Run.create(folder / "run", planned.job.settings, FinetuneSettings)
            figures = _train(run, planned, started)
        material.findings |= {"kl_divergence_unhealed": before.kl_divergence, **figures}
        return stored(student, model)

    def _plan(self, job: FinetuningJob, started: float) -> FinetuningPlan:
        """
        Raises:
            UserError: the time or the memory does not suffice.
        """
        try:
            return plan_finetuning(job, {}, started)
        except TooLittleTimeError as error:
            raise UserError(
                f"--heal-minutes {self.minutes:g} is too short to heal this model here: about "
                f"{error.needed_minutes:g} is the least that works"
            ) from None
        except TooLittleMemoryError as error:
            raise UserError(
                f"healing takes {readable_bytes(error.needed_bytes)} of memory at the least, and "
                f"{readable_bytes(error.limit_bytes)} can be had here: leave out --heal-minutes, or take a larger "
                "machine"
            ) from None


def _job(student: GPT, dataset: HealingDataset, material: Material, minutes: float) -> FinetuningJob:
    """The healing as a fine-tuning on plain text, whose teacher is the original."""
    folder = str(material.run.folder)
    objective = DistillationSettings(teacher=folder, alpha=1.0)
    # The dataset is there already: nothing is read from the sources.
    request = {"base": folder, "sources": [folder], "minutes": minutes, "epochs": MOST_EPOCHS}
    config = student.config
    rate = usual_learning_rate(objective, config.embed_dim, student.num_parameters, adapts=False)
    if not is_fake_quantized(student):
        rate *= PRUNED_RATE
    given = {"optimizer": {"learning_rate": float(f"{rate:.2g}")}}
    train = training_table(given, MOST_EPOCHS, objective, student, dataset)
    settings = FinetuneSettings.parse({"request": request, "model": config.plain(), "train": train})
    return FinetuningJob(settings, Loaded(material.run, student), student, None, dataset, {})


def _train(run: Run, planned: FinetuningPlan, started: float) -> dict[str, Any]:
    """Trains in a folder that is thrown away, until the time is spent or somebody stops it; the model then has its best
    weights. Returns what it took."""
    write_json(run.folder / PLAN, planned.table())
    model, settings = planned.job.model, planned.job.settings
    note(
        f"healing {model.num_parameters / 1e6:.2f}M parameters; the validation loss is the KL divergence from the "
        "original, in nats per token"
    )
    note(RecordedPlan(run).in_a_line(0.0))
    trainer = Trainer(run, settings, planned.job.dataset, model=model, callbacks=_callbacks())
    trainer.fit(started)
    load_trained_weights(model, run.best(note))
    model.eval()
    state = trainer.state
    if trainer.status == "stopped":
        note(f"healing was stopped at step {state.step:,}: the weights of step {state.best_step or 0:,} are the result")
    return {
        "healing_status": trainer.status,
        "healing_steps": state.step,
        "healing_best_step": state.best_step,
        "healing_tokens": state.num_tokens,
        "healing_seconds": trainer.elapsed_s,
    }


def _callbacks() -> list[Callback]:
    """Those of every training, but for what a run folder that is kept would be for."""
    evaluate, throughput, checkpoints = Evaluate(), Throughput(), SaveCheckpoints(are_kept=False)
    stop = StopOnSignal(STOPPING)
    return [throughput, Replan(evaluate), Progress(throughput), Recover(checkpoints), stop, evaluate, checkpoints]
