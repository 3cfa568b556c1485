"""Examples on disk, read back by their number: memory holds eight bytes of each."""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.files import writing
from gptsmith.data.shapes import Example

FOLDER = "examples"
"""In the cache."""


class ExampleSequence(Sequence[Example]):
    """Examples that are made when they are read; a slice of them is read when it is taken."""

    def example(self, number: int) -> Example:
        """The example of that number, from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self.example(number) for number in range(*place.indices(len(self)))]
        return self.example(range(len(self))[place])


class StoredExamples(ExampleSequence):
    """Examples in a file that has no name, and is gone with this object or its process."""

    def __init__(self) -> None:
        """
        Raises:
            UserError: the file cannot be made.
        """
        self._folder = private_folder(default_cache() / FOLDER)
        with writing(self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 closed with this object
        weakref.finalize(self, self._file.close)
        self._ends = array("q")
        self._classes: list[type[Example]] = []

    def append(self, example: Example) -> None:
        """
        Raises:
            UserError: there is no room for it.
        """
        if type(example) not in self._classes:
            self._classes.append(type(example))
        row = [self._classes.index(type(example)), vars(example)]
        data = json.dumps(row, ensure_ascii=False, default=dict).encode("utf-8", "surrogatepass")
        with writing(self._folder):
            self._file.write(data)
        self._ends.append(len(data) + (self._ends[-1] if self._ends else 0))

    def __len__(self) -> int:
        return len(self._ends)

    def example(self, number: int) -> Example:
        start = self._ends[number - 1] if number else 0
        self._file.seek(start)
        data = self._file.read(self._ends[number] - start)
        cls, fields = json.loads(data.decode("utf-8", "surrogatepass"))
        made: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        return self._classes[cls](**made)


class ChosenExamples(ExampleSequence):
    """Some of the examples of another sequence, by their numbers (N,)."""

    def __init__(self, examples: Sequence[Example], numbers: np.ndarray) -> None:
        self._examples, self._numbers = examples, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def example(self, number: int) -> Example:
        return self._examples[int(self._numbers[number])]
