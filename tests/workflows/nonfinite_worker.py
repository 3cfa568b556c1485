"""What torchrun starts in a test: `gptsmith.pretrain`, with the weights lost at one step, or at every step from it on.

python nonfinite_worker.py TEXT RUN STEP once|always SETTING...
python nonfinite_worker.py TEXT RUN MINUTES planned SETTING...
"""

from __future__ import annotations

import sys

import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.planning import minutes as planning
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.trainer import Callback, Trainer

text, run, number, how, *settings = sys.argv[1:]
if how == "planned":
    planning.measured_speed = lambda *_: Speed(((7e6, 5e-6), (1e9, 5e-4)))
    gptsmith.pretrain([text], out=run, minutes=float(number), settings=settings)
    sys.exit()


class Poison(Callback):
    """Makes the weights of a layer NaN."""

    times = 0

    def before_step(self, trainer: Trainer) -> None:
        step = trainer.state.step
        if (step == int(number) and self.times == 0) or (step >= int(number) and how == "always"):
            self.times += 1
            with torch.no_grad():
                trainer.model.blocks[1].attention.value.weight.fill_(float("nan"))


try:
    with more_callbacks(Poison()):
        gptsmith.pretrain([text], out=run, settings=settings)
except UserError as error:
    print(f"gptsmith: {error}", file=sys.stderr)
    sys.exit(2)
