"""How a model is trained, when its state is saved, and where its figures go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptsmith.base.settings import FIXED, Settings
from gptsmith.train import objectives, optimizers
from gptsmith.train.objectives import AnyObjective
from gptsmith.train.optimizers import AnyOptimizer
from gptsmith.train.private.settings import PrivateSettings
from gptsmith.train.schedule import ScheduleSettings
from gptsmith.train.stability import StabilitySettings


class TrainSettings(Settings):
    """How a model is trained."""

    seed: Annotated[int, FIXED] = 1
    """Decides the initial weights, the order of the data and what dropout drops."""
    device: str = "auto"
    """Device: cpu, cuda or mps; auto uses a GPU if there is one."""
    dtype: str = "auto"
    """Dtype of the forward and backward pass: float32, bfloat16 or float64; auto uses bfloat16 where the
    hardware multiplies it faster than float32. Weights are kept in float32 (float64 for float64)."""
    num_steps: int = Field(gt=0)
    """Steps of the optimizer."""
    batch_size: Annotated[int, FIXED] = Field(gt=0)
    """Windows per step, each as long as the model's context."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Windows per forward pass (gradient accumulation); by default all of a step. Changes memory, not the result."""
    gradient_checkpointing: bool = False
    """Whether the backward pass computes each block again from its input, instead of keeping its activations: less
    memory and more time, the same result. `finetune` turns it on where the memory would not suffice."""
    compile: bool | None = None
    """Whether blocks are computed by code that PyTorch's compiler makes for them (torch.compile), which needs a C++
    compiler, or Triton on a GPU. If nobody sets it, the plan of a long run tries it and does what takes less time;
    without a plan, nothing is compiled. For pretraining, where all passes have one shape."""
    objective: Annotated[AnyObjective, FIXED] = objectives.KINDS.field("next_token")
    optimizer: AnyOptimizer = optimizers.KINDS.field("muon")
    schedule: ScheduleSettings = ScheduleSettings()
    stability: StabilitySettings = StabilitySettings()
    private: Annotated[PrivateSettings, FIXED] = PrivateSettings()
    max_gradient_norm: float | None = Field(default=None, gt=0)
    """Gradient clipping: a larger Euclidean norm of all gradients together is scaled down to this one. None clips
    nothing."""
    target_loss: float | None = Field(default=None, gt=0)
    """Stop once the whole validation set's loss, in nats per token, is at or below this."""
    patience_evaluations: int | None = Field(default=6, gt=0)
    """Early stopping: stop after this many evaluations in a row that are worse than the best one."""
    evaluate_at_start: bool = False
    """Whether to evaluate the initial weights too: they are the result if none are better."""
    max_forgetting: float | None = Field(default=None, ge=0)
    """Weights are the best only if the bits per byte of a text that the base knew have risen by at most this fraction:
    0.05 is 5 %. For fine-tuning; by default what is forgotten is measured, and does not decide."""
    min_kept_answers: float | None = Field(default=None, ge=0, le=1)
    """Weights are the best only if at least this fraction of the base's answers to general questions is kept: 0.8 is
    80 %. For fine-tuning; by default they are compared, and do not decide."""
    evaluate_every_steps: int = Field(default=100, gt=0)
    """Steps between two evaluations on the validation split."""
    evaluation_tokens: int = Field(default=32_768, gt=0)
    """Validation tokens per evaluation; the one at the end of the run uses all of them."""
    sample_every_steps: int = Field(default=400, gt=0)
    """Steps between two samples of text from the model."""


class CheckpointSettings(Settings):
    """When checkpoints are saved, and which are kept."""

    every_steps: int | None = Field(default=None, gt=0)
    """Also save a checkpoint every this many steps."""
    every_minutes: float = Field(default=10.0, gt=0)
    """The longest time between two checkpoints."""
    keep: int = Field(default=2, ge=2)
    """Number of newest checkpoints to keep, besides the best one."""
    keep_every_steps: int | None = Field(default=None, gt=0)
    """Keep one checkpoint every this many steps permanently."""


class TrackSettings(Settings):
    """Experiment trackers that also get the metrics; none by default."""

    tensorboard: bool = False
    """Whether event files for TensorBoard are written, to `tensorboard/` in the run."""
    wandb: str | None = None
    """The Weights & Biases project to send metrics and settings to, over the network."""
    mlflow: str | None = None
    """The MLflow experiment to log metrics and settings to: in `mlflow/` in the run, or on the server that
    MLFLOW_TRACKING_URI names."""
    trackio: str | None = None
    """The Trackio project to log metrics and settings to, in Trackio's own folder on this machine."""
    plugin: str | None = None
    """A tracker that an installed package registers: its name, or NAME:PROJECT."""
