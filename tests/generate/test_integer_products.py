"""Products of integers are exact, by the instructions of every processor."""

from __future__ import annotations

from typing import Any

import numba
import numpy
import pytest

from gptsmith.generate.native import targets
from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import OPTIONS
from gptsmith.generate.native.integer_products import INPUT_BYTES, SUMS, group_products, store_inputs

NEEDS = {"vnni 512": "avx512vnni", "vnni 256": "avxvnni", "words 512": "avx512bw", "words 256": "avx2", "plain": ""}
FORMS: list[tuple[int, int | None]] = [(8, None), (8, 0), (8, 1), (5, None), (4, None)]


def weights_of(bits: int, integers: Any) -> tuple[Any, Any]:
    """Integers (16 rows, 32 columns) as a kernel reads them, and their fifth bits."""
    quads = integers.reshape(16, 8, 4).transpose(1, 0, 2).reshape(8, 64)  # (quads, 16 rows x 4 columns)
    if bits == 8:
        return quads.copy(), numpy.zeros(64, numpy.uint8)
    halves = numpy.stack([quads[:4], quads[4:]], axis=1)  # (pairs, low or high, 64)
    packed = (halves[:, 0] & 15) | (halves[:, 1] & 15) << 4
    return packed.copy(), numpy.packbits(halves >> 4 & 1, axis=-1, bitorder="little").copy()


@pytest.mark.parametrize("way", NEEDS)
def test_sums_are_exact(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if NEEDS[way] not in ("", *targets.FEATURES):
        pytest.skip(f"this processor has no {NEEDS[way]}")
    monkeypatch.setattr(targets, "INSTRUCTIONS", way)
    eight, first, second, five, four = (group_products(bits, 2, half) for bits, half in FORMS)

    def compute(number: int, zero: int, weights: int, fifths: int, floats: int, inputs: int, out: int) -> None:
        for row in range(2):
            place, x = inputs + row * INPUT_BYTES, floats + row * 128
            store_inputs(place, v.load(x), v.load(x + 64))
            v.store_integer(place + SUMS, v.sum_of_nearest(v.load(x)))
            v.store_integer(place + SUMS + 4, v.sum_of_nearest(v.load(x + 64)))
        places = (inputs, inputs + INPUT_BYTES)
        if number == 0:
            sums = eight(weights, fifths, zero, places)
        elif number == 1:
            sums = first(weights, fifths, zero, places)
        elif number == 2:
            sums = second(weights + 256, fifths, zero, places)
        elif number == 3:
            sums = five(weights, fifths, zero, places)
        else:
            sums = four(weights, fifths, zero, places)
        v.store(out, sums[0])
        v.store(out + 64, sums[1])

    run: Any = numba.njit(**OPTIONS)(compute)
    generator = numpy.random.default_rng(0)
    largest = numpy.full(32, 32639.0)
    rows = [largest, -largest, largest * (-1.0) ** numpy.arange(32), generator.integers(-32639, 32640, 32)]
    for number, (bits, half) in enumerate(FORMS):
        columns = slice(None) if half is None else slice(16 * half, 16 * half + 16)
        for integers in (numpy.full((16, 32), 2**bits - 1), generator.integers(0, 2**bits, (16, 32))):
            weights, fifths = weights_of(bits, integers.astype(numpy.uint8))
            for row in rows:
                both = numpy.stack([row, row[::-1]])
                floats, inputs = both.astype(numpy.float32), numpy.zeros(2 * INPUT_BYTES, numpy.uint8)
                out = numpy.zeros((2, 16), numpy.float32)
                run(number, 7, *(each.ctypes.data for each in (weights, fifths, floats, inputs, out)))
                wanted = both[:, columns].astype(numpy.int64) @ (integers[:, columns].T - 7)
                assert (out == wanted.astype(numpy.float32)).all(), (bits, half)


def test_halves_are_read_without_an_instruction_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "READS_HALVES", False)

    def compute(halves: int, out: int) -> None:
        v.store(out, v.load_half(halves))

    run: Any = numba.njit(**OPTIONS)(compute)
    finite = numpy.arange(1 << 16, dtype=numpy.uint16)
    finite = finite[numpy.isfinite(finite.view(numpy.float16))]
    out = numpy.zeros(16, numpy.float32)
    for start in range(0, len(finite), 16 * 31):  # of all signs and exponents, those below the smallest normal too
        halves = finite[start : start + 16]
        run(halves.ctypes.data, out.ctypes.data)
        assert (out == halves.view(numpy.float16).astype(numpy.float32)).all()
