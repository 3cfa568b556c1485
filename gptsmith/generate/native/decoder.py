"""A model's decoder in compiled code: what it is made of, and a pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy
import torch
from torch import Tensor, nn

from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.native import products, records, step
from gptsmith.generate.native.compiling import compilation
from gptsmith.generate.native.known import ACTIVATIONS, require_known
from gptsmith.generate.native.packing import packed_floats, packed_groups
from gptsmith.generate.native.products import GROUP, INPUT_BYTES
from gptsmith.generate.native.threads import COUNTERS, Threads, compile_start
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.soft_cap import soft_capped_
from gptsmith.model.linear import LinearLayer
from gptsmith.model.norm.layernorm import LayerNorm
from gptsmith.model.norm.rmsnorm import RMSNorm
from gptsmith.model.position.alibi import AlibiPosition
from gptsmith.model.position.rotary import RotaryPosition


class Records:
    """Records of one type, added one by one.

    Args:
        dtype: the record's.
    """

    def __init__(self, dtype: numpy.dtype[Any]) -> None:
        self._rows: list[Any] = []
        self._dtype = dtype

    def add(self, **values: float) -> int:
        """Adds one, which is 0 where nothing is said; returns its number."""
        row = numpy.zeros(1, self._dtype)
        for name, value in values.items():
            row[name] = value
        self._rows.append(row)
        return len(self._rows) - 1

    def __getitem__(self, number: int) -> Any:
        return self._rows[number][0]

    @property
    def array(self) -> Any:
        """All of them."""
        return numpy.concatenate(self._rows)


class NativeDecoder:
    """Runs a model's layers and head in compiled code, over the keys and values of an engine's cache.

    Raises:
        UnsupportedModelError: it has a kind that is not known here.
        CompilationError: its code cannot be compiled here.
    """

    def __init__(self, model: GPT, num_threads: int, max_rows: int) -> None:
        require_known(model)
        self.model, self.max_rows, self._num_threads = model, max_rows, num_threads
        config, attention = model.config, cast(Any, model.blocks[0]).attention
        self._kept: list[Any] = []
        """What addresses point at."""
        self._matrices, self._norms = Records(products.MATRIX), Records(records.NORM)
        self._norms.add()  # the first is none
        self._shape, self._state = numpy.zeros(1, records.SHAPE), numpy.zeros(1, records.PASS)
        shape, state = self._shape[0], self._state[0]
        shape["num_heads"], shape["num_kv_heads"] = attention.num_heads, attention.num_kv_heads
        shape["head_dim"] = attention.head_dim
        shape["scale"] = attention.query_multiplier / attention.head_dim**0.5
        shape["score_cap"] = attention.score_cap or 0
        self._layers = numpy.zeros(config.num_layers, records.LAYER)
        self._stream = torch.zeros(max_rows, config.embed_dim)
        state["stream"], state["num_threads"] = self._stream.data_ptr(), num_threads
        self._scores = torch.zeros(num_threads, LANES)
        self._positions = numpy.zeros(max_rows, numpy.int64)
        self._rows = numpy.zeros((config.num_layers, max_rows), numpy.int64)
        """The address of the block table of each row, by groups of layers."""
        self._block_tables: dict[int, Any] = {}
        self._add_positions()
        self._add_rows()
        body, head = Records(step.OPERATION), Records(step.OPERATION)
        for layer, block in enumerate(model.blocks):
            self._add_layer(body, layer, block)
        matrix = self._matrix(model.head)
        self._logits = torch.empty(
            max_rows, LANES * int(self._matrices[matrix]["num_tiles"])
        )  # most rows are never used
        self._prepare(head, model.final_norm, int(state["stream"]), config.embed_dim)
        self._multiply(head, matrix, self._logits.data_ptr())
        head.add(code=step.WAIT)
        self._scratch = self._inputs()
        self._tables = (
            *(self._shape, self._state, body.array, head.array, self._layers),
            *(self._matrices.array, self._norms.array, self._scratch),
        )
        counters = numpy.zeros(COUNTERS, numpy.int64)
        state["counters"], state["job"] = counters.ctypes.data, step.END
        with compilation():  # if that fails, it does so before there are threads
            self._run_thread(0, 0)
            compile_start()
        self._threads = Threads(num_threads, counters, partial(self._run_thread, 0, 0), self._run_thread)

    def hidden(self, ids: Sequence[int], segments: Sequence[Segment], cache: PagedKVCache) -> Tensor:
        """The residual stream (N, C) after the last layer, of the tokens of a pass."""
        state, num_rows = self._state[0], len(ids)
        positions = [place for segment in segments for place in range(segment.start, segment.end)]
        model = self.model
        x = model.embedding(torch.tensor(ids)).float()
        if model.config.embedding_multiplier != 1:
            x = x * model.config.embedding_multiplier
        self._stream[:num_rows] = model.position.embed(x[None], torch.tensor(positions))[0]
        self._positions[:num_rows] = positions
        self._place(segments, cache)
        state["num_rows"] = num_rows
        self._run(step.BODY)
        return self._stream[:num_rows].clone()

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits (N, V), float32, of rows of `hidden`."""
        self._stream[: len(hidden)] = hidden
        self._state[0]["num_rows"] = len(hidden)
        self._run(step.HEAD)
        config = self.model.config
        logits = self._logits[: len(hidden), : config.vocab_size] / config.logits_scaling
        return soft_capped_(logits, config.logits_cap)

    def close(self) -> None:
        """Ends its threads."""
        self._state[0]["job"] = step.END
        self._threads.close()

    @property
    def num_asleep(self) -> int:
        """How many of its threads sleep until they are needed."""
        return self._threads.num_asleep

    def _place(self, segments: Sequence[Segment], cache: PagedKVCache) -> None:
        """Says where the keys and values of a pass lie."""
        state, longest = self._state[0], max(segment.end for segment in segments)
        size, (_, heads, _, width) = cache.block_size, cache.keys[0].blocks.shape
        number_bytes = cache.keys[0].blocks.itemsize
        state["block_size"], state["number_bytes"] = size, number_bytes
        state["head_stride"] = size * width * number_bytes
        state["block_stride"] = heads * size * width * number_bytes
        for name, tensors in (("key", cache.keys), ("value", cache.values)):
            self._layers[f"{name}s"] = [tensor.blocks.data_ptr() for tensor in tensors]
            if tensors[0].scales is not None:
                self._layers[f"{name}_scales"] = [
                    tensor.scales.data_ptr() for tensor in tensors if tensor.scales is not None
                ]
        most = -(-longest // size)
        if most * size + LANES > self._scores.shape[1]:
            self._scores = torch.zeros(self._num_threads, 2 * most * size + LANES)
            state["scores"], state["scores_stride"] = self._scores.data_ptr(), 4 * self._scores.shape[1]
        for number, group in enumerate(cache.memory.groups):
            tables = self._block_tables[number] = numpy.zeros((len(segments), most), numpy.int64)
            at = 0
            for row, segment in zip(tables, segments, strict=True):
                blocks, first = segment.table.blocks[number], segment.table.first[number]
                row[first : first + len(blocks)] = blocks[: most - first]
                self._rows[number, at : at + segment.count] = row.ctypes.data
                at += segment.count
            self._layers["tables"][list(group.layers)] = self._rows[number].ctypes.data
        for segment in segments:
            segment.table.num_written = segment.end

    def _run(self, job: int) -> None:
        self._state[0]["job"] = job
        self._threads.run()

    def _run_thread(self, thread: int, next_start: int) -> int:
        return int(step.run(*self._tables, thread, next_start))

    def _add_layer(self, program: Records, layer: int, block: Any) -> None:
        """What a block does with the residual stream."""
        self._layers[layer]["window"] = block.attention.window
        position = self.model.position
        if isinstance(position, RotaryPosition) and (position.layers == "all" or layer in position.layers):
            self._layers[layer]["rotary_dim"] = position.rotary_dim
        if block.attention.sinks is not None:
            self._layers[layer]["sinks"] = self._at(block.attention.sinks)
        attended, fed, is_post = self._outputs[0].data_ptr(), self._outputs[-1].data_ptr(), block.placement == "post"
        self._attend(program, layer, block.attention, None if is_post else block.attention_norm, attended)
        self._normalise(program, block.attention_output_norm, attended)
        if not block.is_parallel:
            self._add_to_stream(program, attended)
            if is_post:
                self._normalise(program, block.attention_norm, int(self._state[0]["stream"]))
        self._feed(program, block.feedforward, None if is_post else block.feedforward_norm, fed)
        self._normalise(program, block.feedforward_output_norm, fed)
        if block.is_parallel:
            self._add_to_stream(program, attended)
            if is_post:
                self._normalise(program, block.attention_norm, int(self._state[0]["stream"]))
        self._add_to_stream(program, fed)
        if is_post:
            self._normalise(program, block.feedforward_norm, int(self._state[0]["stream"]))

    def _attend(self, program: Records, layer: int, attention: Any, norm: nn.Module | None, outputs: int) -> None:
        """The outputs of a block's attention."""
        state = self._state[0]
        self._prepare(program, norm, int(state["stream"]), self.model.config.embed_dim)
        for name in ("query", "key", "value"):
            self._multiply(program, self._matrix(getattr(attention, name)), int(state[name]))
        program.add(code=step.WAIT)
        norms = [self._norm(norm) for norm in (attention.query_norm, attention.key_norm)]
        program.add(code=step.PLACE, number=layer, first_norm=norms[0])
        program.add(code=step.WAIT)
        program.add(code=step.ATTEND, number=layer)
        program.add(code=step.WAIT)
        self._prepare(program, None, int(state["attended"]), self._query_dim)
        self._multiply(program, self._matrix(attention.output), outputs)

    def _feed(self, program: Records, feed: Any, norm: nn.Module | None, outputs: int) -> None:
        """The outputs of a block's feed-forward half."""
        self._prepare(program, norm, int(self._state[0]["stream"]), self.model.config.embed_dim)
        hidden, gate = self._hidden.data_ptr(), self._gate.data_ptr()
        self._multiply(program, self._matrix(feed.input), hidden)
        is_gated = hasattr(feed, "gate")
        if is_gated:
            self._multiply(program, self._matrix(feed.gate), gate)
        kind, width = ACTIVATIONS[cast(Any, self.model.config.feedforward).activation], self._hidden.shape[1]
        program.add(code=step.ACTIVATE, number=kind, source=gate if is_gated else 0, target=hidden, dim=width)
        program.add(code=step.WAIT)
        self._prepare(program, None, hidden, width)
        self._multiply(program, self._matrix(feed.output), outputs)

    def _normalise(self, program: Records, norm: nn.Module, rows: int) -> None:
        """Normalises rows as wide as the residual stream where they are, once all threads have made them."""
        if not isinstance(norm, nn.Identity):
            program.add(code=step.WAIT)
            program.add(code=step.NORMALISE, number=self._norm(norm), source=rows, dim=self.model.config.embed_dim)
            program.add(code=step.WAIT)

    def _prepare(self, program: Records, norm: nn.Module | None, source: int, dim: int) -> None:
        number = 0 if norm is None else self._norm(norm)
        program.add(code=step.PREPARE, number=number, source=source, dim=dim)

    def _multiply(self, program: Records, matrix: int, target: int) -> None:
        width = LANES * int(self._matrices[matrix]["num_tiles"])
        program.add(code=step.MULTIPLY, number=matrix, target=target, dim=width)

    def _add_to_stream(self, program: Records, outputs: int) -> None:
        """Adds the outputs of a half."""
        dim, multiplier = self.model.config.embed_dim, self.model.config.residual_multiplier
        program.add(code=step.ADD, source=outputs, dim=dim, multiplier=multiplier)
        program.add(code=step.WAIT)

    def _norm(self, norm: nn.Module) -> int:
        """The number of a norm; one that does nothing has a row too."""
        if isinstance(norm, LayerNorm):
            return self._norms.add(weight=self._at(norm.weight), bias=self._at(norm.bias), epsilon=norm.eps)
        if isinstance(norm, RMSNorm):
            return self._norms.add(weight=self._at(norm.weight), epsilon=norm.epsilon)
        return self._norms.add()

    def _matrix(self, linear: LinearLayer) -> int:
        """The number of a matrix."""
        groups, bias = linear.groups(), getattr(linear, "bias", None)
        matrix = packed_floats(linear.matrix()) if groups is None else packed_groups(groups)
        self._kept.append(matrix)
        addresses = {name: values.data_ptr() for name, values in matrix.tensors.items()}
        if bias is not None:
            addresses["bias"] = self._at(nn.functional.pad(bias.detach(), (0, -len(bias) % LANES)))
        kernel = products.KERNELS[matrix.fields["bits"], matrix.fields.get("group", GROUP)]
        return self._matrices.add(kernel=kernel.address, **matrix.fields, **addresses)

    def _at(self, values: Tensor) -> int:
        values = values.detach().float().contiguous()
        self._kept.append(values)
        return values.data_ptr()

    def _add_positions(self) -> None:
        """The angles of all positions, or the slopes of heads."""
        if isinstance(self.model.position, RotaryPosition):
            positions = torch.arange(self.model.config.context_length)
            cosines, sines = self.model.position.rotation(positions)
            half = cosines.shape[1] // 2
            self._shape[0]["num_rotated"] = half
            self._state[0]["cosines"], self._state[0]["sines"] = self._at(cosines[:, :half]), self._at(sines[:, half:])
        if isinstance(self.model.position, AlibiPosition):
            self._shape[0]["slopes"] = self._at(torch.tensor(self.model.position.slopes))

    def _add_rows(self) -> None:
        """Room for the rows of a pass."""
        shape, state, rows, config = self._shape[0], self._state[0], self.max_rows, self.model.config
        self._query_dim = int(shape["num_heads"] * shape["head_dim"])
        kv_dim = int(shape["num_kv_heads"] * shape["head_dim"])
        self._outputs = torch.zeros(2 if config.parallel_residual else 1, rows, config.embed_dim)
        self._hidden, self._gate = torch.zeros(2, rows, config.feedforward.width(config.dims))
        for name, width in (
            ("query", self._query_dim),
            ("key", kv_dim),
            ("value", kv_dim),
            ("attended", self._query_dim),
        ):
            state[name] = self._at(torch.zeros(rows, width))
        state["scores"], state["scores_stride"] = self._scores.data_ptr(), self._scores.nbytes // self._num_threads
        state["positions"] = self._positions.ctypes.data

    def _inputs(self) -> Any:
        """Room for the inputs of each thread, and for those of all."""
        widest = max(self._stream.shape[1], self._query_dim, self._hidden.shape[1])
        scratch = Records(products.INPUTS)
        for thread in range(self._num_threads + 1):
            is_shared = thread == self._num_threads or self._num_threads == 1
            count = self.max_rows if is_shared else min(self.max_rows, step.ALONE)
            tensors = {
                "bytes": torch.zeros(count, widest // GROUP, INPUT_BYTES, dtype=torch.int8),
                "scales": torch.zeros(count, widest // GROUP),
                "sums": torch.zeros(count, widest // GROUP, 2, dtype=torch.int32),
                "floats": torch.zeros(count, widest),
            }
            self._kept.append(tensors)
            scratch.add(stride=4 * widest, **{name: tensor.data_ptr() for name, tensor in tensors.items()})
        return scratch.array
