"""The feed-forward halves of a model, as parts of a program."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from gptsmith.generate.native import step
from gptsmith.generate.native.known import ACTIVATIONS
from gptsmith.generate.native.programs import Parts, Program
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.config import GPTConfig
from gptsmith.model.feedforward.experts import Experts, ExpertsSettings


class Feeding:
    """Writes feed-forward halves into programs, and has room for what they make.

    Attributes:
        rows_per_token: the rows between their layers: 1, or as many as experts compute a token.
        widest: the numbers of the widest of these.
    """

    def __init__(self, config: GPTConfig, parts: Parts, shape: Any, state: Any, max_rows: int) -> None:
        settings = config.feedforward
        self._parts, self._dim, self._stream = parts, config.embed_dim, int(state["stream"])
        self._activation = ACTIVATIONS[cast(Any, settings).activation]
        self._width = self.widest = settings.width(config.dims)
        self.rows_per_token = 1
        if isinstance(settings, ExpertsSettings):
            self._add_experts(settings, shape, state, max_rows)
        self._hidden, self._gate = (self._room(max_rows * self.rows_per_token, self._width) for _ in range(2))

    def add(self, program: Program, feed: nn.Module, norm: nn.Module | None, outputs: int) -> None:
        """What a half makes of the residual stream, normalised, written to an address."""
        program.prepare(norm, self._stream, self._dim)
        if isinstance(feed, Experts):
            self._mix(program, feed, outputs)
            return
        self._open(program, feed, self._hidden, self._gate, self._width)
        program.wait()
        program.prepare(None, self._hidden, self._width)
        program.multiply(cast(Any, feed).output, outputs)

    def _open(self, program: Program, feed: Any, hidden: int, gate: int, width: int) -> None:
        """The units of a half that computes every row."""
        program.multiply(feed.input, hidden)
        if hasattr(feed, "gate"):
            program.multiply(feed.gate, gate)
        program.activate(self._activation, gate if hasattr(feed, "gate") else 0, hidden, width)

    def _add_experts(self, settings: ExpertsSettings, shape: Any, state: Any, max_rows: int) -> None:
        """Room for the choices and for the outputs of experts."""
        count, self.rows_per_token = settings.num_experts, settings.experts_per_token
        shape["num_experts"], shape["num_chosen"], shape["renormalizes"] = (
            count,
            self.rows_per_token,
            settings.renormalize,
        )
        self._router = state["router"] = self._room(max_rows, -(-count // LANES) * LANES)
        state["preferences"] = self._room(max_rows, -(-count // LANES) * LANES)
        num_choices = max_rows * self.rows_per_token
        state["weights"] = self._room(num_choices, 1)
        for name, size in (("chosen", num_choices), ("slots", num_choices), ("rows_of_slots", num_choices)):
            state[name] = self._parts.kept(torch.zeros(size, dtype=torch.int64))
        state["ends"] = self._parts.kept(torch.zeros(count + 1, dtype=torch.int64))
        self._rows_of_slots = int(state["rows_of_slots"])
        self._outputs = self._room(num_choices, self._dim)
        if num_shared := settings.num_shared_experts:
            self.widest = num_shared * self._width
            self._shared_hidden, self._shared_gate = (self._room(max_rows, self.widest) for _ in range(2))
            self._weighed = self._room(max_rows, LANES)

    def _mix(self, program: Program, feed: Experts, outputs: int) -> None:
        """The experts of each row, and the shared ones."""
        program.multiply(feed.router, self._router)
        shared: Any = feed.shared
        if shared is not None:
            self._open(program, shared, self._shared_hidden, self._shared_gate, self.widest)
            if feed.shared_gate is not None:
                program.multiply(feed.shared_gate, self._weighed)
        program.wait()
        program.add(code=step.CHOOSE, source=0 if feed.choice_bias is None else self._parts.row(feed.choice_bias))
        program.wait()
        program.add(code=step.ORDER)
        program.wait()
        experts, hidden, is_gated = list(cast(Any, feed).experts), self._hidden, hasattr(feed.experts[0], "gate")
        program.multiply_chosen([expert.input for expert in experts], self._rows_of_slots, hidden)
        if is_gated:
            program.multiply_chosen([expert.gate for expert in experts], self._rows_of_slots, self._gate)
        program.activate(self._activation, self._gate if is_gated else 0, hidden, self._width, self.rows_per_token)
        program.wait()
        program.prepare(None, hidden, self._width, self.rows_per_token)
        program.multiply_chosen([expert.output for expert in experts], 0, self._outputs)
        if shared is not None:
            program.wait()  # the inputs may be those of all threads
            program.prepare(None, self._shared_hidden, self.widest)
            program.multiply(shared.output, outputs)
            if feed.shared_gate is not None:
                program.add(code=step.WEIGH, source=self._weighed, target=outputs, dim=self._dim)
        program.add(code=step.MIX, number=int(shared is not None), source=self._outputs, target=outputs, dim=self._dim)

    def _room(self, rows: int, width: int) -> int:
        """The address of rows of float32. Most are never used, and take no memory then."""
        return self._parts.kept(torch.zeros(rows, width))
