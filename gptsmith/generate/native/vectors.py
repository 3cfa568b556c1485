"""Vectors of sixteen lanes in compiled code, which numba lacks: types and operations, made of LLVM's instructions.

A value of type `Floats` or `Integers` is a register of AVX-512, two of AVX2, four of NEON. Sums over lanes have an
order that does not depend on the processor. Addresses are integers of 64 bits.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import models, overload, register_model

from gptsmith.generate.native.compiling import call, intrinsic

LANES = 16
HAS_VNNI = bool(binding.get_host_cpu_features().get("avx512vnni"))


class _Vector(types.Type):
    """Sixteen lanes of float32 or int32."""


class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, F32S if type_.name == "Floats" else I32S)  # type: ignore[no-untyped-call]


I8, I32, I64, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
F32S, I32S, BYTES = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES), ir.VectorType(I8, 4 * LANES)
register_model(_Vector)(_VectorModel)
Integers, Floats = _Vector("Integers"), _Vector("Floats")
Address, Nothing = types.int64, types.void


def _operation(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes an operation on vectors of a function (builder, *values) that writes its instructions."""

    def make(emit: Callable[..., Any]) -> Any:
        def typed(typing: Any, *_: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                made = emit(builder, *values)
                return context.get_dummy_value() if result is Nothing else made

            return result(*arguments), code

        names = ("typing", *(f"a{number}" for number in range(len(arguments))))
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        typed.__name__, typed.__doc__ = emit.__name__, emit.__doc__
        return intrinsic(typed)

    return make


def _splat(builder: Any, value: Any, lanes: int = LANES) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _constant(value: float) -> Any:
    return ir.Constant(F32S, [float(value)] * LANES)


def _load(builder: Any, address: Any, type_: Any) -> Any:
    return builder.load(builder.inttoptr(address, type_.as_pointer()), align=1)


@_operation(Floats, types.float32)
def floats(builder: Any, value: Any) -> Any:
    """The same number in each lane."""
    return _splat(builder, value)


@_operation(Integers, types.int32)
def integers(builder: Any, value: Any) -> Any:
    """The same integer in each lane."""
    return _splat(builder, value)


@_operation(Floats, Address)
def load(builder: Any, address: Any) -> Any:
    """Sixteen float32."""
    return _load(builder, address, F32S)


@_operation(Floats, Address)
def load_half(builder: Any, address: Any) -> Any:
    """Sixteen float16."""
    return builder.fpext(_load(builder, address, ir.VectorType(ir.HalfType(), LANES)), F32S)


@_operation(Floats, Address)
def load_bfloat16(builder: Any, address: Any) -> Any:
    """Sixteen bfloat16."""
    bits = builder.zext(_load(builder, address, ir.VectorType(ir.IntType(16), LANES)), I32S)
    return builder.bitcast(builder.shl(bits, ir.Constant(I32S, [16] * LANES)), F32S)


@_operation(Nothing, Address, Floats)
def store(builder: Any, address: Any, values: Any) -> Any:
    """Writes sixteen float32."""
    builder.store(values, builder.inttoptr(address, F32S.as_pointer()), align=4)


@_operation(Nothing, Address, Floats)
def store_two_bytes(builder: Any, address: Any, values: Any) -> Any:
    """Writes the nearest integers as 256 high + low: sixteen bytes low, and sixteen high 32 bytes further on."""
    whole = builder.fptosi(call(builder, "llvm.rint.v16f32", F32S, values), I32S)
    eight, half = (ir.Constant(I32S, [value] * LANES) for value in (8, 128))
    for shift, part in ((0, whole), (32, builder.ashr(builder.add(whole, half), eight))):
        bytes_ = builder.trunc(part, ir.VectorType(I8, LANES))
        builder.store(bytes_, builder.inttoptr(builder.add(address, I64(shift)), bytes_.type.as_pointer()), align=1)


@_operation(types.int32, Floats)
def sum_of_nearest(builder: Any, values: Any) -> Any:
    """The sum of the nearest integers."""
    whole = builder.fptosi(call(builder, "llvm.rint.v16f32", F32S, values), I32S)
    return call(builder, "llvm.vector.reduce.add.v16i32", I32, whole)


@_operation(Floats, Integers, Integers)
def joined(builder: Any, high: Any, low: Any) -> Any:
    """256 high + low, as numbers."""
    shifted = builder.shl(high, ir.Constant(I32S, [8] * LANES))
    return builder.sitofp(builder.add(shifted, low), F32S)


@_operation(types.float32, Address)
def load_float(builder: Any, address: Any) -> Any:
    return _load(builder, address, F32)


@_operation(types.int32, Address)
def load_integer(builder: Any, address: Any) -> Any:
    return _load(builder, address, I32)


@_operation(types.int64, Address)
def load_address(builder: Any, address: Any) -> Any:
    return _load(builder, address, I64)


@_operation(Nothing, Address, types.float32)
def store_float(builder: Any, address: Any, value: Any) -> Any:
    builder.store(value, builder.inttoptr(address, F32.as_pointer()), align=4)


@_operation(Nothing, Address, types.int32)
def store_integer(builder: Any, address: Any, value: Any) -> Any:
    builder.store(value, builder.inttoptr(address, I32.as_pointer()), align=4)


@_operation(Floats, Floats, Floats, Floats)
def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c."""
    return call(builder, "llvm.fma.v16f32", F32S, a, b, c)


@_operation(Floats, Floats, Floats)
def _added(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


@_operation(Floats, Floats, Floats)
def _subtracted(builder: Any, a: Any, b: Any) -> Any:
    return builder.fsub(a, b)


@_operation(Floats, Floats, Floats)
def _multiplied(builder: Any, a: Any, b: Any) -> Any:
    return builder.fmul(a, b)


@_operation(Floats, Floats, Floats)
def _divided(builder: Any, a: Any, b: Any) -> Any:
    return builder.fdiv(a, b)


@_operation(Floats, Floats, Floats)
def larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger number of each lane."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@_operation(Floats, Floats)
def absolute(builder: Any, a: Any) -> Any:
    return call(builder, "llvm.fabs.v16f32", F32S, a)


@_operation(Floats, Floats)
def exponential(builder: Any, x: Any) -> Any:
    """e^x to seven digits, for x up to 88: 2^n times a polynomial of what is left (Cephes)."""
    low, high = _constant(-87.0), _constant(88.0)
    x = builder.select(builder.fcmp_ordered(">", x, low), x, low)
    x = builder.select(builder.fcmp_ordered("<", x, high), x, high)
    n = call(builder, "llvm.rint.v16f32", F32S, builder.fmul(x, _constant(1.4426950408889634)))
    rest = call(builder, "llvm.fma.v16f32", F32S, n, _constant(-0.693359375), x)
    rest = call(builder, "llvm.fma.v16f32", F32S, n, _constant(2.12194440e-4), rest)
    series = _constant(1.9875691500e-4)
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0, 1.0):
        series = call(builder, "llvm.fma.v16f32", F32S, series, rest, _constant(factor))
    power = builder.add(builder.fptosi(n, I32S), ir.Constant(I32S, [127] * LANES))
    return builder.fmul(series, builder.bitcast(builder.shl(power, ir.Constant(I32S, [23] * LANES)), F32S))


@_operation(Floats, Floats, Floats)
def with_sign(builder: Any, size: Any, sign: Any) -> Any:
    """The numbers of the first with the signs of the second."""
    return call(builder, "llvm.copysign.v16f32", F32S, size, sign)


def _folded(builder: Any, values: Any, join: Callable[[Any, Any], Any]) -> Any:
    """One number of all lanes: the halves are joined, again and again."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        masks = [ir.Constant(ir.VectorType(I32, lanes), list(range(begin, begin + lanes))) for begin in (0, lanes)]
        undefined = ir.Constant(values.type, ir.Undefined)
        values = join(*(builder.shuffle_vector(values, undefined, mask) for mask in masks))
    return builder.extract_element(values, I32(0))


@_operation(types.float32, Floats)
def total(builder: Any, values: Any) -> Any:
    """The sum of all lanes."""
    return _folded(builder, values, builder.fadd)


@_operation(types.float32, Floats)
def largest(builder: Any, values: Any) -> Any:
    """The largest of all lanes."""
    return _folded(builder, values, lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _make_operator(symbol: Callable[..., Any], operation: Any) -> None:
    """Has an operator of Python mean an operation on numbers of all lanes."""

    def choose(a: Any, b: Any) -> Any:
        return (lambda a, b: operation(a, b)) if a is b is Floats else None

    overload(symbol, strict=False)(choose)


_make_operator(operator.add, _added)
_make_operator(operator.sub, _subtracted)
_make_operator(operator.mul, _multiplied)
_make_operator(operator.truediv, _divided)


def _four_products(builder: Any, sums: Any, weights: Any, inputs: Any) -> Any:
    """Sums with, in each lane, the products of four weights (bytes without sign) and four inputs (with sign) added."""
    if HAS_VNNI:
        return call(builder, "llvm.x86.avx512.vpdpbusd.512", I32S, sums, weights, inputs)
    wide = ir.VectorType(I32, 4 * LANES)
    products = builder.mul(builder.zext(weights, wide), builder.sext(inputs, wide))
    for place in range(4):
        mask = ir.Constant(I32S, [4 * lane + place for lane in range(LANES)])
        sums = builder.add(sums, builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), mask))
    return sums


def _four_inputs(builder: Any, address: Any, offset: int) -> Any:
    """Four bytes, for each lane again."""
    return builder.bitcast(_splat(builder, _load(builder, builder.add(address, I64(offset)), I32)), BYTES)


def _halves(builder: Any, weights: Any) -> tuple[Any, Any]:
    """The low and the high four bits of 64 bytes at an address."""
    loaded = _load(builder, weights, BYTES)
    return builder.and_(loaded, _splat(builder, I8(15), 64)), builder.lshr(loaded, _splat(builder, I8(4), 64))


@_operation(Integers, Integers, Address, Address)
def add_products_of_8_bits(builder: Any, sums: Any, weights: Any, inputs: Any) -> Any:
    """Sums with four products a lane added: of weights of 8 bits, 64 at an address, and of inputs, 4 at another."""
    return _four_products(builder, sums, _load(builder, weights, BYTES), _four_inputs(builder, inputs, 0))


@_operation(Integers, Integers, Address, Address)
def add_products_of_4_bits(builder: Any, sums: Any, weights: Any, inputs: Any) -> Any:
    """Sums with eight products a lane added: the low halves of 64 bytes belong to four inputs, the high halves to those
    16 further on."""
    for number, half in enumerate(_halves(builder, weights)):
        sums = _four_products(builder, sums, half, _four_inputs(builder, inputs, 16 * number))
    return sums


@_operation(Integers, Integers, Address, Address, Address)
def add_products_of_5_bits(builder: Any, sums: Any, weights: Any, fifths: Any, inputs: Any) -> Any:
    """The same, with a fifth bit of each weight: 64 at an address for the low halves, then 64 for the high ones."""
    flags, sixteen = ir.VectorType(ir.IntType(1), 64), _splat(builder, I8(16), 64)
    for number, half in enumerate(_halves(builder, weights)):
        bits = builder.bitcast(_load(builder, builder.add(fifths, I64(8 * number)), I64), flags)
        whole = builder.or_(half, builder.select(bits, sixteen, ir.Constant(BYTES, None)))
        sums = _four_products(builder, sums, whole, _four_inputs(builder, inputs, 16 * number))
    return sums
