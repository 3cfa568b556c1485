"""Operations on several rows of inputs at once: each has a place, the address of a group, and a vector of 16 sums."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from gptsmith.generate.native.integer_products import OFFSET, SCALE, SUMS
from gptsmith.generate.native.vectors import (
    F32,
    F32S,
    I32,
    I64,
    Address,
    Floats,
    Nothing,
    each,
    fused_multiply_add,
    loaded,
    operation,
    repeated,
    several,
)


def zeros(num_rows: int) -> Any:
    """The operation () that gives the sums of nothing."""

    @operation(several(Floats, num_rows))
    def zeros(builder: Any) -> Any:
        return [ir.Constant(F32S, None)] * num_rows

    return zeros


def moved(num_rows: int) -> Any:
    """The operation (places, offset) that adds bytes to addresses."""

    @operation(several(Address, num_rows), several(Address, num_rows), types.int64)
    def moved(builder: Any, places: Any, offset: Any) -> Any:
        return [builder.add(place, offset) for place in each(builder, places)]

    return moved


def scaled(num_rows: int) -> Any:
    """The operation (products, scales, places, sums) that adds products to sums, times the scales of weights and
    inputs."""

    @operation(
        several(Floats, num_rows),
        several(Floats, num_rows),
        Floats,
        several(Address, num_rows),
        several(Floats, num_rows),
    )
    def scaled(builder: Any, products: Any, scales: Any, places: Any, sums: Any) -> Any:
        factors = [
            builder.fmul(repeated(builder, _number(builder, place, SCALE, F32)), scales)
            for place in each(builder, places)
        ]
        rows = zip(each(builder, products), factors, each(builder, sums), strict=True)
        return [fused_multiply_add(builder, *row) for row in rows]

    return scaled


def raised(num_rows: int, half: int | None = None) -> Any:
    """The operation (minimums, places, sums) that adds to sums the minimums of weights, times the sums of inputs.

    Args:
        half: 0 or 1, for one of the two halves of a group alone.
    """

    def offset(builder: Any, place: Any) -> Any:
        if half is None:
            return _number(builder, place, OFFSET, F32)
        whole = builder.sitofp(_number(builder, place, SUMS + 4 * half, I32), F32)
        return builder.fmul(_number(builder, place, SCALE, F32), whole)

    @operation(several(Floats, num_rows), Floats, several(Address, num_rows), several(Floats, num_rows))
    def raised(builder: Any, minimums: Any, places: Any, sums: Any) -> Any:
        offsets = [repeated(builder, offset(builder, place)) for place in each(builder, places)]
        rows = zip(offsets, each(builder, sums), strict=True)
        return [fused_multiply_add(builder, minimums, factor, total) for factor, total in rows]

    return raised


def store(num_rows: int) -> Any:
    """The operation (addresses, sums, scales, bias) that writes sums, scaled and with their bias."""

    @operation(Nothing, several(Address, num_rows), several(Floats, num_rows), Floats, Floats)
    def store(builder: Any, addresses: Any, sums: Any, scales: Any, bias: Any) -> Any:
        for address, total in zip(each(builder, addresses), each(builder, sums), strict=True):
            values = builder.fadd(builder.fmul(total, scales), bias)
            builder.store(values, builder.inttoptr(address, F32S.as_pointer()), align=4)

    return store


def _number(builder: Any, place: Any, offset: int, type_: Any) -> Any:
    return loaded(builder, builder.add(place, I64(offset)), type_)
