"""A model's decoder in compiled code: what it is made of, and a pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, cast

import numpy
import torch
from torch import Tensor, nn

from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.native import products, records, step
from gptsmith.generate.native.attention import ROWS
from gptsmith.generate.native.compiling import compilation
from gptsmith.generate.native.feeding import Feeding
from gptsmith.generate.native.integer_products import INPUT_BYTES
from gptsmith.generate.native.known import require_known
from gptsmith.generate.native.products import GROUP
from gptsmith.generate.native.programs import Parts, Program, Records
from gptsmith.generate.native.threads import COUNTERS, Threads, compile_start
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.soft_cap import soft_capped_
from gptsmith.model.position.alibi import AlibiPosition
from gptsmith.model.position.rotary import RotaryPosition


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
        self._parts = parts = Parts()
        self._shape, self._state = numpy.zeros(1, records.SHAPE), numpy.zeros(1, records.PASS)
        shape, state = self._shape[0], self._state[0]
        shape["num_heads"], shape["num_kv_heads"] = attention.num_heads, attention.num_kv_heads
        shape["head_dim"] = attention.head_dim
        shape["scale"] = attention.query_multiplier / attention.head_dim**0.5
        shape["score_cap"] = attention.score_cap or 0
        self._layers = numpy.zeros(config.num_layers, records.LAYER)
        self._stream = torch.zeros(max_rows, config.embed_dim)
        state["stream"], state["num_threads"] = self._stream.data_ptr(), num_threads
        self._scores = torch.zeros(num_threads * ROWS, LANES)
        self._positions, self._chunks = numpy.zeros(max_rows, numpy.int64), numpy.zeros((max_rows, 2), numpy.int64)
        self._rows = numpy.zeros((config.num_layers, max_rows), numpy.int64)
        """The address of the block table of each row, by groups of layers."""
        self._block_tables: dict[int, Any] = {}
        self._add_positions()
        self._add_rows()
        self._feeding = Feeding(config, parts, shape, state, max_rows)
        body, head = Program(parts), Program(parts)
        for layer, block in enumerate(model.blocks):
            self._add_layer(body, layer, block)
        self._logits = torch.empty(max_rows, -(-config.vocab_size // LANES) * LANES)  # most rows are never used
        head.prepare(model.final_norm, int(state["stream"]), config.embed_dim)
        head.multiply(model.head, self._logits.data_ptr())
        head.wait()
        self._scratch = self._inputs()
        self._tables = (
            *(self._shape, self._state, body.array, head.array, self._layers),
            *(parts.matrices.array, parts.norms.array, self._scratch),
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
        ends = list(accumulate(segment.count for segment in segments))
        starts = [0, *ends[:-1]]
        chunks = [
            (row, min(row + ROWS, end))
            for start, end in zip(starts, ends, strict=True)
            for row in range(start, end, ROWS)
        ]
        self._chunks[: len(chunks)] = chunks
        state["num_rows"], state["num_chunks"] = num_rows, len(chunks)
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
        if most * size + 2 * LANES > self._scores.shape[1]:  # the first are the share
            self._scores = torch.zeros(self._num_threads * ROWS, 2 * (most * size + LANES))
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

    def _add_layer(self, program: Program, layer: int, block: Any) -> None:
        """What a block does with the residual stream."""
        self._layers[layer]["window"] = block.attention.window
        position = self.model.position
        if isinstance(position, RotaryPosition) and (position.layers == "all" or layer in position.layers):
            self._layers[layer]["rotary_dim"] = position.rotary_dim
        if block.attention.sinks is not None:
            self._layers[layer]["sinks"] = self._parts.at(block.attention.sinks)
        stream, dim = int(self._state[0]["stream"]), self.model.config.embed_dim
        attended, fed, is_post = self._outputs[0].data_ptr(), self._outputs[-1].data_ptr(), block.placement == "post"
        self._attend(program, layer, block.attention, None if is_post else block.attention_norm, attended)
        program.normalise(block.attention_output_norm, attended, dim)
        if not block.is_parallel:
            self._add_to_stream(program, attended)
            if is_post:
                program.normalise(block.attention_norm, stream, dim)
        self._feeding.add(program, block.feedforward, None if is_post else block.feedforward_norm, fed)
        program.normalise(block.feedforward_output_norm, fed, dim)
        if block.is_parallel:
            self._add_to_stream(program, attended)
            if is_post:
                program.normalise(block.attention_norm, stream, dim)
        self._add_to_stream(program, fed)
        if is_post:
            program.normalise(block.feedforward_norm, stream, dim)

    def _attend(self, program: Program, layer: int, attention: Any, norm: nn.Module | None, outputs: int) -> None:
        """The outputs of a block's attention."""
        state = self._state[0]
        program.prepare(norm, int(state["stream"]), self.model.config.embed_dim)
        for name in ("query", "key", "value"):
            program.multiply(getattr(attention, name), int(state[name]))
        program.wait()
        norms = [self._parts.norm(norm) for norm in (attention.query_norm, attention.key_norm)]
        program.add(code=step.PLACE, number=layer, first_norm=norms[0])
        program.wait()
        program.add(code=step.ATTEND, number=layer)
        program.wait()
        program.prepare(None, int(state["attended"]), self._query_dim)
        program.multiply(attention.output, outputs)

    def _add_to_stream(self, program: Program, outputs: int) -> None:
        """Adds the outputs of a half."""
        dim, multiplier = self.model.config.embed_dim, self.model.config.residual_multiplier
        program.add(code=step.ADD, source=outputs, dim=dim, multiplier=multiplier)
        program.wait()

    def _add_positions(self) -> None:
        """The angles of all positions, or the slopes of heads."""
        if isinstance(self.model.position, RotaryPosition):
            positions = torch.arange(self.model.config.context_length)
            cosines, sines = self.model.position.rotation(positions)
            half = cosines.shape[1] // 2
            self._shape[0]["num_rotated"] = half
            self._state[0]["cosines"], self._state[0]["sines"] = (
                self._parts.at(cosines[:, :half]),
                self._parts.at(sines[:, half:]),
            )
        if isinstance(self.model.position, AlibiPosition):
            self._shape[0]["slopes"] = self._parts.at(torch.tensor(self.model.position.slopes))

    def _add_rows(self) -> None:
        """Room for the rows of a pass."""
        shape, state, rows, config = self._shape[0], self._state[0], self.max_rows, self.model.config
        self._query_dim = int(shape["num_heads"] * shape["head_dim"])
        kv_dim = int(shape["num_kv_heads"] * shape["head_dim"])
        self._outputs = torch.zeros(2 if config.parallel_residual else 1, rows, config.embed_dim)
        for name, width in (
            ("query", self._query_dim),
            ("key", kv_dim),
            ("value", kv_dim),
            ("attended", self._query_dim),
        ):
            state[name] = self._parts.at(torch.zeros(rows, width))
        state["scores"], state["scores_stride"] = self._scores.data_ptr(), 4 * self._scores.shape[1]
        state["positions"], state["chunks"] = self._positions.ctypes.data, self._chunks.ctypes.data

    def _inputs(self) -> Any:
        """Room for the inputs of each thread, and for those of all."""
        widest = max(self._stream.shape[1], self._query_dim, self._feeding.widest)
        most = self.max_rows * self._feeding.rows_per_token
        scratch = Records(products.INPUTS)
        for thread in range(self._num_threads + 1):
            is_shared = thread == self._num_threads or self._num_threads == 1
            count = most if is_shared else min(most, step.ALONE)
            tensors = {
                "groups": torch.zeros(count, widest // GROUP, INPUT_BYTES, dtype=torch.int8),
                "floats": torch.zeros(count, widest),
            }
            addresses = {name: self._parts.kept(tensor) for name, tensor in tensors.items()}
            scratch.add(stride=4 * widest, **addresses)
        return scratch.array
