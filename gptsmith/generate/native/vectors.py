"""Vectors of sixteen lanes in compiled code, which numba lacks: types and operations, made of LLVM's instructions.

A value of type `Floats` is a register of AVX-512, two of AVX2, four of NEON. Sums over lanes have an
order that does not depend on the processor. Addresses are integers of 64 bits.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, overload, register_model

from gptsmith.generate.native import targets
from gptsmith.generate.native.compiling import call, intrinsic

LANES = 16


class _Vector(types.Type):
    """Sixteen lanes of float32."""


class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, F32S)  # type: ignore[no-untyped-call]


I8, I32, I64, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
F32S, I32S, BYTES = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES), ir.VectorType(I8, 4 * LANES)
register_model(_Vector)(_VectorModel)
Floats = _Vector("Floats")
Address, Nothing = types.int64, types.void


def several(type_: Any, count: int) -> Any:
    """The type of so many values of one type, a tuple."""
    make: Any = types.UniTuple
    return make(type_, count)


def operation(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes an operation on vectors of a function (builder, *values) that writes its instructions."""

    def make(emit: Callable[..., Any]) -> Any:
        def typed(typing: Any, *_: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                made = emit(builder, *values)
                if isinstance(result, types.UniTuple):
                    return context.make_tuple(builder, result, made)
                return context.get_dummy_value() if result is Nothing else made

            return result(*arguments), code

        names = ("typing", *(f"a{number}" for number in range(len(arguments))))
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        typed.__name__, typed.__doc__ = emit.__name__, emit.__doc__
        return intrinsic(typed)

    return make


def repeated(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """Lanes of the same value."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _constant(value: float) -> Any:
    return ir.Constant(F32S, [float(value)] * LANES)


def fused_multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, lane by lane, rounded once where the processor can."""
    return call(builder, "llvm.fmuladd.v16f32", F32S, a, b, c)


def each(builder: Any, values: Any) -> list[Any]:
    """The values of a tuple."""
    return [builder.extract_value(values, number) for number in range(values.type.count)]


def loaded(builder: Any, address: Any, type_: Any) -> Any:
    """What lies at an address."""
    return builder.load(builder.inttoptr(address, type_.as_pointer()), align=1)


@operation(Floats, types.float32)
def floats(builder: Any, value: Any) -> Any:
    """The same number in each lane."""
    return repeated(builder, value)


@operation(Floats, Address)
def load(builder: Any, address: Any) -> Any:
    """Sixteen float32."""
    return loaded(builder, address, F32S)


@operation(Floats, Address)
def load_half(builder: Any, address: Any) -> Any:
    """Sixteen finite float16."""
    if targets.READS_HALVES:
        return builder.fpext(loaded(builder, address, ir.VectorType(ir.HalfType(), LANES)), F32S)
    bits = builder.zext(loaded(builder, address, ir.VectorType(ir.IntType(16), LANES)), I32S)
    sign, rest, thirteen, sixteen = (ir.Constant(I32S, [value] * LANES) for value in (0x8000, 0x7FFF, 13, 16))
    size = builder.bitcast(builder.shl(builder.and_(bits, rest), thirteen), F32S)
    size = builder.bitcast(builder.fmul(size, _constant(2.0**112)), I32S)  # exponents count from 127 instead of 15
    return builder.bitcast(builder.or_(size, builder.shl(builder.and_(bits, sign), sixteen)), F32S)


@operation(Floats, Address)
def load_bfloat16(builder: Any, address: Any) -> Any:
    """Sixteen bfloat16."""
    bits = builder.zext(loaded(builder, address, ir.VectorType(ir.IntType(16), LANES)), I32S)
    return builder.bitcast(builder.shl(bits, ir.Constant(I32S, [16] * LANES)), F32S)


@operation(Floats, Address)
def load_bytes(builder: Any, address: Any) -> Any:
    """Sixteen integers of 8 bits with sign."""
    return builder.sitofp(loaded(builder, address, ir.VectorType(I8, LANES)), F32S)


@operation(Floats, types.float32)
def counted(builder: Any, first: Any) -> Any:
    """A number, and those that follow it by one each."""
    steps = ir.Constant(F32S, [float(lane) for lane in range(LANES)])
    return builder.fadd(repeated(builder, first), steps)


@operation(Nothing, Address, Floats)
def store_bytes(builder: Any, address: Any, values: Any) -> Any:
    """Writes the nearest integers, from -127 to 127."""
    bytes_ = builder.trunc(whole_numbers(builder, values), ir.VectorType(I8, LANES))
    builder.store(bytes_, builder.inttoptr(address, bytes_.type.as_pointer()), align=1)


@operation(Nothing, Address, Floats)
def store(builder: Any, address: Any, values: Any) -> Any:
    """Writes sixteen float32."""
    builder.store(values, builder.inttoptr(address, F32S.as_pointer()), align=4)


def whole_numbers(builder: Any, values: Any) -> Any:
    """The nearest integers."""
    return builder.fptosi(call(builder, "llvm.rint.v16f32", F32S, values), I32S)


@operation(types.int32, Floats)
def sum_of_nearest(builder: Any, values: Any) -> Any:
    """The sum of the nearest integers."""
    return call(builder, "llvm.vector.reduce.add.v16i32", I32, whole_numbers(builder, values))


@operation(types.float32, Address)
def load_float(builder: Any, address: Any) -> Any:
    return loaded(builder, address, F32)


@operation(types.int32, Address)
def load_integer(builder: Any, address: Any) -> Any:
    return loaded(builder, address, I32)


@operation(types.int64, Address)
def load_address(builder: Any, address: Any) -> Any:
    return loaded(builder, address, I64)


@operation(Nothing, Address, types.int64)
def store_address(builder: Any, address: Any, value: Any) -> Any:
    builder.store(value, builder.inttoptr(address, I64.as_pointer()), align=8)


@operation(Nothing, Address, types.float32)
def store_float(builder: Any, address: Any, value: Any) -> Any:
    builder.store(value, builder.inttoptr(address, F32.as_pointer()), align=4)


@operation(Nothing, Address, types.int32)
def store_integer(builder: Any, address: Any, value: Any) -> Any:
    builder.store(value, builder.inttoptr(address, I32.as_pointer()), align=4)


@operation(Floats, Floats, Floats, Floats)
def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c."""
    return fused_multiply_add(builder, a, b, c)


@operation(Floats, Floats, Floats)
def _added(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


@operation(Floats, Floats, Floats)
def _subtracted(builder: Any, a: Any, b: Any) -> Any:
    return builder.fsub(a, b)


@operation(Floats, Floats, Floats)
def _multiplied(builder: Any, a: Any, b: Any) -> Any:
    return builder.fmul(a, b)


@operation(Floats, Floats, Floats)
def _divided(builder: Any, a: Any, b: Any) -> Any:
    return builder.fdiv(a, b)


@operation(Floats, Floats, Floats)
def larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger number of each lane."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@operation(Floats, Floats)
def absolute(builder: Any, a: Any) -> Any:
    return call(builder, "llvm.fabs.v16f32", F32S, a)


@operation(Floats, Floats)
def exponential(builder: Any, x: Any) -> Any:
    """e^x to seven digits, for x up to 88: 2^n times a polynomial of what is left (Cephes)."""
    low, high = _constant(-87.0), _constant(88.0)
    x = builder.select(builder.fcmp_ordered(">", x, low), x, low)
    x = builder.select(builder.fcmp_ordered("<", x, high), x, high)
    n = call(builder, "llvm.rint.v16f32", F32S, builder.fmul(x, _constant(1.4426950408889634)))
    rest = fused_multiply_add(builder, n, _constant(-0.693359375), x)
    rest = fused_multiply_add(builder, n, _constant(2.12194440e-4), rest)
    series = _constant(1.9875691500e-4)
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0, 1.0):
        series = fused_multiply_add(builder, series, rest, _constant(factor))
    power = builder.add(builder.fptosi(n, I32S), ir.Constant(I32S, [127] * LANES))
    return builder.fmul(series, builder.bitcast(builder.shl(power, ir.Constant(I32S, [23] * LANES)), F32S))


@operation(Floats, Floats, Floats)
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


@operation(types.float32, Floats)
def total(builder: Any, values: Any) -> Any:
    """The sum of all lanes."""
    return _folded(builder, values, builder.fadd)


@operation(types.float32, Floats)
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
