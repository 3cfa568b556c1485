"""Operations of attention on several rows of queries at once, which read keys and values together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from gptsmith.generate.native.vectors import (
    F32,
    F32S,
    I8,
    I32,
    I64,
    LANES,
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

KEYS = 4
"""The keys that are scored together."""
VECTORS = 4
"""The vectors of a value that are added up together."""


def dots(num_rows: int, *, are_bytes: bool) -> Any:
    """The operation (queries, keys, at, sums) that adds to the sums of each row and key, the row's first, the products
    of 16 numbers from byte `at` of float32 on."""
    all_sums = several(Floats, num_rows * KEYS)

    @operation(all_sums, several(Address, num_rows), several(Address, KEYS), types.int64, all_sums)
    def dots(builder: Any, queries: Any, keys: Any, at: Any, sums: Any) -> Any:
        key_parts = [_numbers(builder, key, at, are_bytes) for key in each(builder, keys)]
        query_parts = [_numbers(builder, query, at, False) for query in each(builder, queries)]
        pairs = [(query, key) for query in query_parts for key in key_parts]
        rows = zip(pairs, each(builder, sums), strict=True)
        return [fused_multiply_add(builder, query, key, total) for (query, key), total in rows]

    return dots


def store_totals(num_rows: int) -> Any:
    """The operation (scores, sums, scale) that writes the total of each sum, scaled: four beside each other a row."""

    @operation(Nothing, several(Address, num_rows), several(Floats, num_rows * KEYS), types.float32)
    def store_totals(builder: Any, scores: Any, sums: Any, scale: Any) -> Any:
        totals = _totals(builder, each(builder, sums))
        totals = builder.fmul(totals, repeated(builder, scale, num_rows * KEYS))
        for number, address in enumerate(each(builder, scores)):
            part = _picked(builder, totals, totals, range(number * KEYS, number * KEYS + KEYS))
            builder.store(part, builder.inttoptr(address, part.type.as_pointer()), align=4)

    return store_totals


def weighted(num_rows: int, *, are_bytes: bool) -> Any:
    """The operation (weights, factor, value, offsets, sums) that adds to the sums of each row and vector of a value,
    the row's first, those vectors, times the weight at an address and a factor.

    The offsets of the vectors are bytes of float32.
    """
    all_sums = several(Floats, num_rows * VECTORS)

    @operation(all_sums, several(Address, num_rows), types.float32, Address, several(Address, VECTORS), all_sums)
    def weighted(builder: Any, weights: Any, factor: Any, value: Any, offsets: Any, sums: Any) -> Any:
        parts = [_numbers(builder, value, offset, are_bytes) for offset in each(builder, offsets)]
        found = []
        for number, address in enumerate(each(builder, weights)):
            weight = loaded(builder, address, F32)
            if are_bytes:
                weight = builder.fmul(weight, factor)
            for place, part in enumerate(parts):
                total = builder.extract_value(sums, number * VECTORS + place)
                found.append(fused_multiply_add(builder, repeated(builder, weight), part, total))
        return found

    return weighted


def store_shares(num_rows: int) -> Any:
    """The operation (targets, offsets, sums, shares) that writes sums, times the share at an address of each row."""
    places = several(Address, num_rows)

    @operation(Nothing, places, several(Address, VECTORS), several(Floats, num_rows * VECTORS), places)
    def store_shares(builder: Any, targets: Any, offsets: Any, sums: Any, shares: Any) -> Any:
        totals = iter(each(builder, sums))
        for target, place in zip(each(builder, targets), each(builder, shares), strict=True):
            share = repeated(builder, loaded(builder, place, F32))
            for offset in each(builder, offsets):
                address = builder.inttoptr(builder.add(target, offset), F32S.as_pointer())
                builder.store(builder.fmul(next(totals), share), address, align=4)

    return store_shares


def _totals(builder: Any, sums: Sequence[Any]) -> Any:
    """The sum of the lanes of each vector: the halves are joined, again and again, in the order of `vectors.total`."""
    width = LANES
    vectors = list(sums)
    while width > 1:
        pieces = vectors[0].type.count // width * min(len(vectors), 2)
        halves = [
            [piece * width + lane for piece in range(pieces) for lane in range(first, first + width // 2)]
            for first in (0, width // 2)
        ]
        pairs = zip(vectors[::2], vectors[1::2] or vectors, strict=True)
        vectors = [builder.fadd(*(_picked(builder, a, b, lanes) for lanes in halves)) for a, b in pairs]
        width //= 2
    return vectors[0]


def _picked(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(a, b, mask)


def _numbers(builder: Any, address: Any, at: Any, are_bytes: bool) -> Any:
    """Sixteen numbers, float32 or bytes, of which `at` counts four."""
    if are_bytes:
        place = builder.add(address, builder.lshr(at, I64(2)))
        return builder.sitofp(loaded(builder, place, ir.VectorType(I8, LANES)), F32S)
    return loaded(builder, builder.add(address, at), F32S)
