"""Products of integer weights (bytes without sign) and inputs (15 bits and a sign), by a processor's instructions.

A group of inputs takes 80 bytes. The first 64 are the inputs: where bytes are multiplied (VNNI), 32 low ones and then
32 high ones, which stand for 256 high + low, both with sign; elsewhere 32 words of 16 bits. Then come their scale,
their sum times the scale (float32), and the sums of their halves (int32). Sums are exact in any case, so that all
processors have the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types

from gptsmith.generate.native import targets
from gptsmith.generate.native.compiling import call
from gptsmith.generate.native.vectors import (
    BYTES,
    F32S,
    I8,
    I32,
    I32S,
    I64,
    LANES,
    Address,
    Floats,
    Nothing,
    each,
    loaded,
    operation,
    repeated,
    several,
    whole_numbers,
)

INPUT_BYTES = 80
"""The bytes of a group of inputs."""
SCALE, OFFSET, SUMS = 64, 68, 72
"""Where in them the scale, the scaled sum and the sums of the halves are."""
AHEAD = 8192
"""How far ahead of what is multiplied weights are brought from memory, in bytes."""
WORDS = ir.VectorType(ir.IntType(16), 4 * LANES)
PAIRS = ir.VectorType(I32, 2 * LANES)


def multiplies_bytes() -> bool:
    return targets.INSTRUCTIONS.startswith("vnni")


@operation(Nothing, Address, Floats, Floats)
def store_inputs(builder: Any, address: Any, first: Any, second: Any) -> Any:
    """Writes a group of inputs: the nearest integers of 32 numbers."""
    for half, values in enumerate((first, second)):
        whole = whole_numbers(builder, values)
        if multiplies_bytes():
            eight, middle = (ir.Constant(I32S, [value] * LANES) for value in (8, 128))
            high = builder.ashr(builder.add(whole, middle), eight)
            _store(builder, builder.trunc(whole, ir.VectorType(I8, LANES)), address, LANES * half)
            _store(builder, builder.trunc(high, ir.VectorType(I8, LANES)), address, 32 + LANES * half)
        else:
            _store(builder, builder.trunc(whole, ir.VectorType(ir.IntType(16), LANES)), address, 2 * LANES * half)


def group_products(bits: int, num_rows: int, half: int | None = None) -> Any:
    """The operation (weights, fifths, zero, inputs) that gives, for each of so many rows of inputs, 16 sums of
    products in a group of 32 columns, of weights less `zero`.

    Args:
        half: 0 or 1, for one of the two halves of a group alone.
    """
    first, count = (0, 8) if half is None else (4 * half, 4)

    @operation(several(Floats, num_rows), Address, Address, types.int64, several(Address, num_rows))
    def group(builder: Any, weights: Any, fifths: Any, zero: Any, inputs: Any) -> Any:
        rows = each(builder, inputs)
        all_sums = [_sums(builder, row, builder.trunc(zero, I32), half) for row in rows]
        for quad, values in _quads(builder, bits, count, weights, fifths):
            for sums in all_sums:
                sums.add(values, first + quad)
        return [builder.sitofp(sums.total(), F32S) for sums in all_sums]

    return group


def _sums(builder: Any, inputs: Any, zero: Any, half: int | None) -> _ByteSums | _WordSums:
    """The sums of a row of inputs, which begin with what the weights' zero takes from them."""
    parts = [
        loaded(builder, builder.add(inputs, I64(SUMS + 4 * part)), I32)
        for part in ((0, 1) if half is None else (half,))
    ]
    start = builder.neg(builder.mul(zero, reduce(builder.add, parts)))
    return (_ByteSums if multiplies_bytes() else _WordSums)(builder, start, inputs)


def _quads(builder: Any, bits: int, count: int, weights: Any, fifths: Any) -> Iterator[tuple[int, Any]]:
    """Each four columns of a group, with their weights: 64 bytes, four a row."""
    if bits == 8:
        for quad in range(count):
            yield quad, _streamed(builder, builder.add(weights, I64(64 * quad)))
        return
    flags, sixteen = ir.VectorType(ir.IntType(1), 64), repeated(builder, I8(16), 64)
    for pair in range(4):  # the low halves of 64 bytes belong to four columns, the high ones to those 16 further on
        both = _streamed(builder, builder.add(weights, I64(64 * pair)))
        halves = (
            builder.and_(both, repeated(builder, I8(15), 64)),
            builder.lshr(both, repeated(builder, I8(4), 64)),
        )
        for number, half in enumerate(halves):
            if bits == 5:
                place = builder.add(fifths, I64(16 * pair + 8 * number))
                fifth = builder.bitcast(loaded(builder, place, I64), flags)
                half = builder.or_(half, builder.select(fifth, sixteen, ir.Constant(BYTES, None)))
            yield pair + 4 * number, half


def _streamed(builder: Any, address: Any) -> Any:
    """The 64 bytes at an address; those some way behind them are brought from memory."""
    ahead = builder.inttoptr(builder.add(address, I64(AHEAD)), I8.as_pointer())
    call(builder, "llvm.prefetch.p0i8", ir.VoidType(), ahead, I32(0), I32(3), I32(1))  # to read, into all caches, data
    return loaded(builder, address, BYTES)


class _ByteSums:
    """Sums of products with low bytes and with high bytes, four at a time."""

    def __init__(self, builder: Any, start: Any, inputs: Any) -> None:
        self._builder, self._inputs = builder, inputs
        self._low, self._high = repeated(builder, start, LANES), ir.Constant(I32S, None)

    def add(self, weights: Any, quad: int) -> None:
        self._low = self._added(self._low, weights, 4 * quad)
        self._high = self._added(self._high, weights, 32 + 4 * quad)

    def total(self) -> Any:
        shifted = self._builder.shl(self._high, ir.Constant(I32S, [8] * LANES))
        return self._builder.add(shifted, self._low)

    def _added(self, sums: Any, weights: Any, offset: int) -> Any:
        builder = self._builder
        four = loaded(builder, builder.add(self._inputs, I64(offset)), I32)
        inputs = builder.bitcast(repeated(builder, four, LANES), BYTES)
        width = 512 if targets.INSTRUCTIONS == "vnni 512" else 256
        return _in_parts(builder, f"llvm.x86.avx512.vpdpbusd.{width}", width, sums.type, sums, weights, inputs)


class _WordSums:
    """Sums of products of 16-bit words: two for each row, of even and of odd pairs of columns."""

    def __init__(self, builder: Any, start: Any, inputs: Any) -> None:
        self._builder, self._inputs, self._start = builder, inputs, start
        self._sums = ir.Constant(PAIRS, None)

    def add(self, weights: Any, quad: int) -> None:
        builder = self._builder
        four = loaded(builder, builder.add(self._inputs, I64(8 * quad)), I64)
        inputs = builder.bitcast(repeated(builder, four, LANES), WORDS)
        self._sums = builder.add(self._sums, self._pairs(builder.zext(weights, WORDS), inputs))

    def total(self) -> Any:
        return self._builder.add(_pairs_added(self._builder, self._sums), repeated(self._builder, self._start, LANES))

    def _pairs(self, weights: Any, inputs: Any) -> Any:
        builder, way = self._builder, targets.INSTRUCTIONS
        if way == "words 512":
            return _in_parts(builder, "llvm.x86.avx512.pmaddw.d.512", 512, PAIRS, weights, inputs)
        if way == "words 256":
            return _in_parts(builder, "llvm.x86.avx2.pmadd.wd", 256, PAIRS, weights, inputs)
        wide = ir.VectorType(I32, 4 * LANES)
        return _pairs_added(builder, builder.mul(builder.sext(weights, wide), builder.sext(inputs, wide)))


def _pairs_added(builder: Any, values: Any) -> Any:
    """The sums of lanes 0 and 1, 2 and 3, ..."""
    even, odd = (_picked(builder, values, range(first, values.type.count, 2)) for first in (0, 1))
    return builder.add(even, odd)


def _in_parts(builder: Any, name: str, width: int, result: Any, *values: Any) -> Any:
    """The result of an instruction for so many bits, applied to one part of the values after the other."""
    count = 32 * result.count // width
    type_ = ir.VectorType(I32, width // 32)
    parts = []
    for part in range(count):
        lanes = [value.type.count // count for value in values]
        given = [_picked(builder, v, range(part * n, part * n + n)) for v, n in zip(values, lanes, strict=True)]
        parts.append(call(builder, name, type_, *given))
    while len(parts) > 1:
        parts = [
            builder.shuffle_vector(a, b, _mask(range(2 * a.type.count)))
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


def _picked(builder: Any, values: Any, lanes: range) -> Any:
    if len(lanes) == values.type.count:
        return values
    return builder.shuffle_vector(values, ir.Constant(values.type, ir.Undefined), _mask(lanes))


def _mask(lanes: range) -> Any:
    return ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))


def _store(builder: Any, values: Any, address: Any, offset: int) -> None:
    builder.store(values, builder.inttoptr(builder.add(address, I64(offset)), values.type.as_pointer()), align=1)
