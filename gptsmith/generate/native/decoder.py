"""A model's decoder in compiled code: what it is made of, and a pass through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.native import products, step
from gptsmith.generate.native.known import ACTIVATIONS, require_known
from gptsmith.generate.native.packing import packed_floats, packed_groups
from gptsmith.generate.native.products import GROUP, INPUT_BYTES
from gptsmith.generate.native.threads import Threads
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.gpt import GPT
from gptsmith.model.linear import LinearLayer
from gptsmith.model.norm.layernorm import LayerNorm
from gptsmith.model.norm.rmsnorm import RMSNorm
from gptsmith.model.position.rotary import RotaryPosition

class NativeDecoder:
    """Runs a model's layers and head in compiled code, over the keys and values of an engine's cache.

    Raises:
        UnsupportedModelError: it has a kind that is not known here.
    """

    def __init__(self, model: GPT, num_threads: int, max_rows: int) -> None:
        self.model, self.max_rows, self.num_threads = model, max_rows, num_threads
        self._kept: list[Any] = []  # what the addresses point at
        require_known(model)
        config = model.config
        attention = model.blocks[0].attention
        self._shape = numpy.zeros(1, step.SHAPE)
        shape = self._shape[0]
        shape["num_layers"], shape["embed_dim"] = config.num_layers, config.embed_dim
        shape["num_heads"], shape["num_kv_heads"] = attention.num_heads, attention.num_kv_heads
        shape["head_dim"] = attention.head_dim
        shape["hidden_dim"] = config.feedforward.width(config.dims)
        shape["activation"] = ACTIVATIONS[config.feedforward.activation]
        shape["is_gated"] = hasattr(model.blocks[0].feedforward, "gate")
        shape["scale"] = attention.query_multiplier / attention.head_dim**0.5
        shape["residual_multiplier"] = config.residual_multiplier
        self._layers = numpy.zeros(config.num_layers, step.LAYER)
        self._matrices = numpy.zeros(config.num_layers * step.NUM_MATRICES + 1, products.MATRIX)
        self._norms = numpy.zeros(config.num_layers * step.NUM_NORMS + 1, step.NORM)
        for layer, block in enumerate(model.blocks):
            self._add_layer(layer, block)
        self._add_matrix(-1, model.head)
        self._add_norm(-1, model.final_norm)
        self._add_rotation(model)
        self._add_rows()
        self._logits = torch.zeros(max_rows, int(self._matrices[-1]["num_tiles"]) * LANES)
        self._state[0]["logits"] = self._logits.data_ptr()
        self._tables = self._shape, self._state, self._layers, self._matrices, self._norms, self._scratch
        self._threads = Threads(num_threads, self._run_share, self._attend_starts)
        self._state[0]["counters"] = self._threads.address

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
        self._run(step.LAYERS)
        return self._stream[:num_rows].clone()

    def head(self, hidden: Tensor) -> Tensor:
        """The logits (N, V), float32, of rows of `hidden`."""
        self._stream[: len(hidden)] = hidden
        self._state[0]["num_rows"] = len(hidden)
        self._run(step.HEAD)
        return self._logits[: len(hidden), : self.model.config.vocab_size].clone()

    def close(self) -> None:
        """Ends its threads."""
        self._state[0]["job"] = step.END
        self._threads.close()

    def _place(self, segments: Sequence[Segment], cache: PagedKVCache) -> None:
        """Says where the keys and values of a pass lie."""
        state, longest = self._state[0], max(segment.end for segment in segments)
        size, (_, heads, _, width) = cache.block_size, cache.keys[0].blocks.shape
        state["block_size"], state["block_stride"] = size, heads * size * width * 4
        state["head_stride"] = size * width * 4
        self._layers["keys"] = [keys.blocks.data_ptr() for keys in cache.keys]
        self._layers["values"] = [values.blocks.data_ptr() for values in cache.values]
        most = -(-longest // size)
        if most * size + LANES > self._scores.shape[1]:
            self._scores = torch.zeros(self.num_threads, 2 * most * size + LANES)
            state["scores"], state["scores_stride"] = self._scores.data_ptr(), self._scores.shape[1] * 4
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

    def _run_share(self, thread: int) -> None:
        self._state[0]["num_barriers"] = step.run_share(*self._tables, thread)

    def _attend_starts(self, thread: int, next_start: int) -> int:
        number: int = step.attend_starts(*self._tables, thread, next_start)
        return number

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(*shape, dtype=dtype)

    def _add_layer(self, layer: int, block: Any) -> None:
        attention, feed = block.attention, block.feedforward
        first = layer * step.NUM_MATRICES
        for place, linear in (
            (step.QUERY, attention.query),
            (step.KEY, attention.key),
            (step.VALUE, attention.value),
            (step.OUTPUT, attention.output),
            (step.FEED, feed.input),
            (step.FEED_OUTPUT, feed.output),
        ):
            self._add_matrix(first + place, linear)
        if hasattr(feed, "gate"):
            self._add_matrix(first + step.GATE, feed.gate)
        first = layer * step.NUM_NORMS
        self._add_norm(first + step.ATTENTION_NORM, block.attention_norm)
        self._add_norm(first + step.FEED_NORM, block.feedforward_norm)
        self._add_norm(first + step.QUERY_NORM, attention.query_norm)
        self._add_norm(first + step.KEY_NORM, attention.key_norm)
        self._layers[layer]["window"] = getattr(attention, "window_size", 0)
        position = self.model.position
        if isinstance(position, RotaryPosition) and (position.layers == "all" or layer in position.layers):
            self._layers[layer]["rotary_dim"] = position.rotary_dim

    def _add_norm(self, place: int, norm: nn.Module) -> None:
        row = self._norms[place]
        if isinstance(norm, LayerNorm):
            row["weight"], row["bias"], row["epsilon"] = self._at(norm.weight), self._at(norm.bias), norm.eps
        elif isinstance(norm, RMSNorm):
            row["weight"], row["epsilon"] = self._at(norm.weight), norm.epsilon

    def _add_matrix(self, place: int, linear: LinearLayer) -> None:
        row = self._matrices[place]
        bias = getattr(linear, "bias", None)
        if bias is not None:
            row["bias"] = self._at(nn.functional.pad(bias.detach(), (0, -len(bias) % LANES)))
        groups = linear.groups()
        matrix = packed_floats(linear.matrix()) if groups is None else packed_groups(groups)
        for name, value in matrix.fields.items():
            row[name] = value
        for name, values in matrix.tensors.items():
            row[name] = values.data_ptr()
        self._kept.append(matrix)

    def _keep(self, values: Any) -> int:
        self._kept.append(values)
        return values.ctypes.data

    def _at(self, values: Tensor) -> int:
        values = values.detach().float().contiguous()
        self._kept.append(values)
        return values.data_ptr()

    def _add_rotation(self, model: GPT) -> None:
        self._state = numpy.zeros(1, step.PASS)
        if isinstance(model.position, RotaryPosition):
            cosines, sines = model.position.rotation(torch.arange(model.config.context_length))
            half = cosines.shape[1] // 2
            self._shape[0]["num_rotated"] = half
            self._state[0]["cosines"] = self._at(cosines[:, :half])
            self._state[0]["sines"] = self._at(sines[:, half:])

    def _add_rows(self) -> None:
        """Room for the rows of a pass."""
        shape, state, rows = self._shape[0], self._state[0], self.max_rows
        C, D, F = int(shape["embed_dim"]), int(shape["head_dim"]), int(shape["hidden_dim"])
        query_dim, kv_dim = int(shape["num_heads"]) * D, int(shape["num_kv_heads"]) * D
        self._stream = self._zeros(rows, C)
        state["stream"] = self._stream.data_ptr()
        for name, width in (
            ("normalised", C),
            ("query", query_dim),
            ("key", kv_dim),
            ("value", kv_dim),
            ("attended", query_dim),
            ("gate", F),
            ("hidden", F),
        ):
            state[name] = self._at(self._zeros(rows, width))
        self._scores = self._zeros(self.num_threads, LANES)
        self._block_tables: dict[int, Any] = {}
        self._rows = numpy.zeros((shape["num_layers"], rows), numpy.int64)
        self._positions = numpy.zeros(rows, numpy.int64)
        state["positions"] = self._positions.ctypes.data
        state["scores"], state["scores_stride"] = self._scores.data_ptr(), self._scores.shape[1] * 4
        state["num_threads"] = self.num_threads
        widest = max(C, query_dim, F)
        self._scratch = numpy.zeros(self.num_threads + 1, products.INPUTS)
        for place in range(self.num_threads + 1):
            count = rows if place == self.num_threads or self.num_threads == 1 else min(rows, step.ALONE)
            one = self._scratch[place]
            one["bytes"] = self._at_bytes(count * widest * INPUT_BYTES // GROUP)
            one["scales"] = self._at(self._zeros(count, widest // GROUP))
            one["sums"] = self._at_bytes(count * widest // GROUP * 8)
            one["floats"], one["stride"] = self._at(self._zeros(count, widest)), widest * 4

    def _at_bytes(self, count: int) -> int:
        return self._keep(numpy.zeros(count, numpy.uint8))
