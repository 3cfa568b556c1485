"""The disk space that a run takes: that of its checkpoints."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from gptsmith.base.errors import UserError
from gptsmith.base.files import existing_parent, readable_bytes
from gptsmith.base.notices import Notice
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.train.run_settings import TrainingSettings

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class RunDisk:
    """The checkpoints of a run on the disk.

    Attributes:
        checkpoint_bytes: of one: the weights that are trained, and the state of the optimizer.
        frozen_bytes: of the weights that stay as they are, which all share.
        num_kept: the newest checkpoints that are kept, besides the best one.
    """

    checkpoint_bytes: int
    frozen_bytes: int
    num_kept: int

    @classmethod
    def of_model(cls, model: nn.Module, settings: TrainingSettings) -> Self:
        """Those of a model that is to be tuned."""
        each = [(p.numel(), p.nbytes, p.requires_grad) for p in model.parameters()]
        state = settings.train.optimizer.state_bytes_per_parameter
        trained = sum(num_bytes + state * count for count, num_bytes, is_trained in each if is_trained)
        frozen = sum(num_bytes for _, num_bytes, is_trained in each if not is_trained)
        return cls(trained, frozen, settings.checkpoint.keep)

    @classmethod
    def of_shape(cls, config: GPTConfig, settings: TrainingSettings) -> Self:
        """Those of a new model, all of whose weights are trained."""
        per_parameter = FLOAT32_BYTES + settings.train.optimizer.state_bytes_per_parameter
        return cls(cost(config).num_parameters * per_parameter, 0, settings.checkpoint.keep)

    @property
    def most_bytes(self) -> int:
        """What they take at most: the newest, the best, and the one that is being written."""
        return self.frozen_bytes + (self.num_kept + 2) * self.checkpoint_bytes

    @property
    def least_bytes(self) -> int:
        """What they take even if the best is always among the newest."""
        return self.frozen_bytes + (self.num_kept + 1) * self.checkpoint_bytes

    def figures(self, folder: Path) -> dict[str, Any]:
        """Those of a plan: what they take at most, and what is free on the disk of a folder."""
        return {"disk_bytes": self.most_bytes, "free_disk_bytes": free_disk_bytes(folder)}

    def require(self, folder: Path) -> None:
        """Checks that they fit before anything is trained.

        Raises:
            UserError: they do not.
        """
        free = free_disk_bytes(folder)
        if free < self.least_bytes:
            raise UserError(
                Notice(
                    f"the checkpoints of this run take {readable_bytes(self.least_bytes)} of disk, and there are "
                    f"{readable_bytes(free)} free where {folder} is to be: free some space, choose another disk with "
                    "--out, or train fewer weights",
                    "disk",
                    needed_bytes=self.least_bytes,
                    free_bytes=free,
                )
            )


def free_disk_bytes(folder: Path) -> int:
    """What is free on the disk that a folder is on, or will be."""
    return shutil.disk_usage(existing_parent(folder)).free
