"""What torchrun starts in a test: `gptsmith.pretrain`, with the weights lost at one step, or at every step from it on.

python sick_worker.py TEXT RUN SICK_STEP once|always SETTING...
python sick_worker.py TEXT RUN MINUTES planned SETTING...
"""

from __future__ import annotations

import sys

import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.train import loop
from gptsmith.train.planning import minutes as planning
from gptsmith.train.planning.throughput import Speed

text, run, number, how, *settings = sys.argv[1:]
if how == "planned":
    planning.measured_speed = lambda *_: Speed(((7e6, 5e-6), (1e9, 5e-4)))
    gptsmith.pretrain([text], out=run, minutes=float(number), settings=settings)
    sys.exit()
gradients, times = loop.gradients, 0


def sick(model: gptsmith.GPT, state: loop.TrainState, *rest: object) -> object:
    global times
    if (state.step == int(number) and times == 0) or (state.step >= int(number) and how == "always"):
        times += 1
        with torch.no_grad():
            model.blocks[1].attention.value.weight.fill_(float("nan"))
    return gradients(model, state, *rest)


loop.gradients = sick
try:
    gptsmith.pretrain([text], out=run, settings=settings)
except UserError as error:
    print(f"gptsmith: {error}", file=sys.stderr)
    sys.exit(2)
