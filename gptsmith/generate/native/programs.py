"""Programs as they are written: their operations, and the matrices and norms of a model that these name by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from torch import Tensor, nn

from gptsmith.generate.native import products, records, step
from gptsmith.generate.native.packing import packed_floats, packed_groups
from gptsmith.generate.native.products import GROUP
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.linear import LinearLayer
from gptsmith.model.norm.layernorm import LayerNorm
from gptsmith.model.norm.rmsnorm import RMSNorm


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


class Parts:
    """The matrices and norms that programs name by number, and all that their addresses point at.

    Attributes:
        matrices, norms: their records. The first norm is none.
    """

    def __init__(self) -> None:
        self.matrices, self.norms = Records(products.MATRIX), Records(records.NORM)
        self._kept: list[Any] = []
        self.norms.add()

    def at(self, values: Tensor) -> int:
        """The address of numbers as float32."""
        return self.kept(values.detach().float().contiguous())

    def row(self, values: Tensor) -> int:
        """The same for as many as fill vectors: zeros follow."""
        return self.at(nn.functional.pad(values.detach(), (0, -len(values) % LANES)))

    def kept(self, tensor: Tensor) -> int:
        """The address of a tensor, which stays where it is."""
        self._kept.append(tensor)
        return tensor.data_ptr()

    def norm(self, norm: nn.Module) -> int:
        """The number of a norm; one that does nothing has a row too."""
        if isinstance(norm, LayerNorm):
            return self.norms.add(weight=self.at(norm.weight), bias=self.at(norm.bias), epsilon=norm.eps)
        if isinstance(norm, RMSNorm):
            return self.norms.add(weight=self.at(norm.weight), epsilon=norm.epsilon)
        return self.norms.add()

    def matrix(self, linear: LinearLayer) -> int:
        """The number of a matrix."""
        groups, bias = linear.groups(), getattr(linear, "bias", None)
        matrix = packed_floats(linear.matrix()) if groups is None else packed_groups(groups)
        addresses = {name: self.kept(values) for name, values in matrix.tensors.items()}
        if bias is not None:
            addresses["bias"] = self.row(bias)
        kernel = products.KERNELS[matrix.fields["bits"], matrix.fields.get("group", GROUP)]
        return self.matrices.add(kernel=kernel.address, **matrix.fields, **addresses)

    def width(self, matrix: int) -> int:
        """The numbers of a row that a matrix makes: whole tiles."""
        return LANES * int(self.matrices[matrix]["num_tiles"])


class Program(Records):
    """Operations, one after the other.

    Args:
        parts: what they name by number.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(step.OPERATION)
        self._parts = parts

    def wait(self) -> None:
        """Threads wait for each other."""
        self.add(code=step.WAIT)

    def prepare(self, norm: nn.Module | None, source: int, dim: int, per_token: int = 1) -> None:
        """Makes rows inputs of products."""
        number = 0 if norm is None else self._parts.norm(norm)
        self.add(code=step.PREPARE, number=number, source=source, dim=dim, per_token=per_token)

    def multiply(self, linear: LinearLayer, target: int) -> None:
        """Products of the inputs, written to an address."""
        matrix = self._parts.matrix(linear)
        self.add(code=step.MULTIPLY, number=matrix, target=target, dim=self._parts.width(matrix))

    def multiply_chosen(self, experts: Sequence[LinearLayer], rows: int, target: int) -> None:
        """Products of inputs, each with the matrix of the expert that is chosen, written to slots.

        Args:
            experts: a matrix of each.
            rows: the address of the numbers of the rows of inputs; 0 if there is one for each slot.
        """
        first, *_ = [self._parts.matrix(linear) for linear in experts]
        dim = self._parts.width(first)
        self.add(code=step.MULTIPLY_CHOSEN, number=first, source=rows, target=target, dim=dim)

    def activate(self, kind: int, gate: int, rows: int, dim: int, per_token: int = 1) -> None:
        """The activation of rows where they are; of gates beside them if `gate` is not 0."""
        self.add(code=step.ACTIVATE, number=kind, source=gate, target=rows, dim=dim, per_token=per_token)

    def normalise(self, norm: nn.Module, rows: int, dim: int) -> None:
        """Normalises rows where they are, once all threads have made them; nothing if the norm does nothing."""
        if not isinstance(norm, nn.Identity):
            self.wait()
            self.add(code=step.NORMALISE, number=self._parts.norm(norm), source=rows, dim=dim)
            self.wait()
