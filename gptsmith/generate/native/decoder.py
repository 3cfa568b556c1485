"""A model's decoder in compiled code: what it is made of, and a pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy
import torch
from torch import Tensor, nn

from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.native import products, step
from gptsmith.generate.native.compiling import forget_compiled as forget_compiled
from gptsmith.generate.native.compiling import say_what_takes_long
from gptsmith.generate.native.errors import UnsupportedModelError
from gptsmith.generate.native.known import ACTIVATIONS, require_known
from gptsmith.generate.native.packing import packed_floats, packed_groups
from gptsmith.generate.native.products import GROUP, INPUT_BYTES
from gptsmith.generate.native.threads import COUNTERS, Threads
from gptsmith.generate.native.vectors import LANES
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.linear import LinearLayer, linear_layers
from gptsmith.model.norm.layernorm import LayerNorm
from gptsmith.model.norm.rmsnorm import RMSNorm
from gptsmith.model.position.rotary import RotaryPosition


class Rows:
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
    """

    def __init__(self, model: GPT, num_threads: int, max_rows: int) -> None:
        require_known(model)
        self.model, self.max_rows, self._num_threads = model, max_rows, num_threads
        config, attention = model.config, cast(Any, model.blocks[0]).attention
        self._kept: list[Any] = []
        """What addresses point at."""
        self._matrices, self._norms = Rows(products.MATRIX), Rows(step.NORM)
        self._norms.add()  # the first is none
        self._shape, self._state = numpy.zeros(1, step.SHAPE), numpy.zeros(1, step.PASS)
        shape, state = self._shape[0], self._state[0]
        shape["num_heads"], shape["num_kv_heads"] = attention.num_heads, attention.num_kv_heads
        shape["head_dim"] = attention.head_dim
        shape["scale"] = attention.query_multiplier / attention.head_dim**0.5
        self._layers = numpy.zeros(config.num_layers, step.LAYER)
        self._stream = torch.zeros(max_rows, config.embed_dim)
        state["stream"], state["num_threads"] = self._stream.data_ptr(), num_threads
        self._scores = torch.zeros(num_threads, LANES)
        self._positions = numpy.zeros(max_rows, numpy.int64)
        self._rows = numpy.zeros((config.num_layers, max_rows), numpy.int64)
        """The address of the block table of each row, by groups of layers."""
        self._block_tables: dict[int, Any] = {}
        self._add_rotation()
        self._add_rows()
        body, head = Rows(step.OPERATION), Rows(step.OPERATION)
        for layer, block in enumerate(model.blocks):
            self._add_layer(body, layer, block)
        matrix = self._matrix(model.head)
        self._logits = torch.zeros(max_rows, LANES * int(self._matrices[matrix]["num_tiles"]))
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
        self._run_thread(0, 0)  # compiles: if that fails, it does so before there are threads
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
        return self._logits[: len(hidden), : self.model.config.vocab_size].clone()

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
        state["block_size"], state["block_stride"] = size, heads * size * width * 4
        state["head_stride"] = size * width * 4
        self._layers["keys"] = [keys.blocks.data_ptr() for keys in cache.keys]
        self._layers["values"] = [values.blocks.data_ptr() for values in cache.values]
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

    def _add_layer(self, program: Rows, layer: int, block: Any) -> None:
        """What a block does with the residual stream."""
        attention, feed, state = block.attention, block.feedforward, self._state[0]
        stream, dim = int(state["stream"]), self.model.config.embed_dim
        self._layers[layer]["window"] = attention.window
        position = self.model.position
        if isinstance(position, RotaryPosition) and (position.layers == "all" or layer in position.layers):
            self._layers[layer]["rotary_dim"] = position.rotary_dim
        self._prepare(program, block.attention_norm, stream, dim)
        for name in ("query", "key", "value"):
            self._multiply(program, self._matrix(getattr(attention, name)), int(state[name]))
        program.add(code=step.WAIT)
        norms = [self._norm(norm) for norm in (attention.query_norm, attention.key_norm)]
        program.add(code=step.PLACE, number=layer, first_norm=norms[0])
        program.add(code=step.WAIT)
        program.add(code=step.ATTEND, number=layer)
        program.add(code=step.WAIT)
        self._prepare(program, None, int(state["attended"]), self._query_dim)
        self._add_to_stream(program, attention.output)
        self._prepare(program, block.feedforward_norm, stream, dim)
        hidden, gate = self._hidden.data_ptr(), self._gate.data_ptr()
        self._multiply(program, self._matrix(feed.input), hidden)
        is_gated = hasattr(feed, "gate")
        if is_gated:
            self._multiply(program, self._matrix(feed.gate), gate)
        kind, width = ACTIVATIONS[cast(Any, self.model.config.feedforward).activation], self._hidden.shape[1]
        program.add(code=step.ACTIVATE, number=kind, source=gate if is_gated else 0, target=hidden, dim=width)
        program.add(code=step.WAIT)
        self._prepare(program, None, hidden, width)
        self._add_to_stream(program, feed.output)

    def _prepare(self, program: Rows, norm: nn.Module | None, source: int, dim: int) -> None:
        number = 0 if norm is None else self._norm(norm)
        program.add(code=step.PREPARE, number=number, source=source, dim=dim)

    def _multiply(self, program: Rows, matrix: int, target: int) -> None:
        width = LANES * int(self._matrices[matrix]["num_tiles"])
        program.add(code=step.MULTIPLY, number=matrix, target=target, dim=width)

    def _add_to_stream(self, program: Rows, linear: LinearLayer) -> None:
        """Adds the outputs of a half."""
        outputs, dim = self._outputs.data_ptr(), self.model.config.embed_dim
        self._multiply(program, self._matrix(linear), outputs)
        multiplier = self.model.config.residual_multiplier
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

    def _add_rotation(self) -> None:
        """The angles of all positions."""
        if isinstance(self.model.position, RotaryPosition):
            positions = torch.arange(self.model.config.context_length)
            cosines, sines = self.model.position.rotation(positions)
            half = cosines.shape[1] // 2
            self._shape[0]["num_rotated"] = half
            self._state[0]["cosines"], self._state[0]["sines"] = self._at(cosines[:, :half]), self._at(sines[:, half:])

    def _add_rows(self) -> None:
        """Room for the rows of a pass."""
        shape, state, rows, config = self._shape[0], self._state[0], self.max_rows, self.model.config
        self._query_dim = int(shape["num_heads"] * shape["head_dim"])
        kv_dim = int(shape["num_kv_heads"] * shape["head_dim"])
        self._outputs = torch.zeros(rows, config.embed_dim)
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
        scratch = Rows(products.INPUTS)
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


FLOAT_ROWS = 32
"""The most tokens of a pass where weights are floating point: for more, PyTorch's product is faster."""
NUM_CHECKED = 3
TOLERANCE = 1e-3


def compile_ahead() -> None:
    """Compiles all code, or reads what is kept of it, with a model that is as small as can be."""
    settings = EngineSettings(max_num_seqs=1)
    config = GPTConfig(vocab_size=LANES, context_length=LANES, embed_dim=GROUP, num_layers=1, num_heads=2)
    checked_decoder(GPT(config).eval(), settings).close()


def checked_decoder(model: GPT, settings: EngineSettings) -> NativeDecoder:
    """The decoder of a model in evaluation mode, once it has computed a few logits as the model's modules do.

    Raises:
        UnsupportedModelError: the model has a kind that is not known here, or this processor computes something else.
    """
    say_what_takes_long(step.run)
    is_packed = any(layer.groups() is not None for layer in linear_layers(model).values())
    most = settings.max_prefill_tokens + settings.max_num_seqs * (1 + settings.num_speculative_tokens)
    decoder = NativeDecoder(model, torch.get_num_threads(), most if is_packed else min(most, FLOAT_ROWS))
    memory = KVCacheMemory.of(model.config, torch.float32, EngineSettings())
    cache = PagedKVCache(model.config, memory, device=model.device, max_num_seqs=1)
    ids = [number * 7919 % model.config.vocab_size for number in range(1, NUM_CHECKED + 1)]
    table = cache.new_table()
    cache.extend(table, 0, len(ids))
    with torch.inference_mode():
        found = decoder.logits(decoder.hidden(ids, [Segment(table, 0, len(ids))], cache))
        wanted = model(torch.tensor([ids]))[0].float()
    difference, size = (found - wanted).abs().max(), wanted.abs().max()
    if not difference <= TOLERANCE * (1 + size):
        decoder.close()
        raise UnsupportedModelError(f"its logits differ by {float(difference):.2g} from those of the model's modules")
    return decoder
