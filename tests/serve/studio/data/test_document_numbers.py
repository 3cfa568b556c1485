"""Documents are found by their names as in a table of strings."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gptsmith.serve.studio.data.document_numbers import DocumentNumbers


@pytest.mark.parametrize("num_documents", [0, 1, 300])
def test_it_is_the_table_that_it_stands_for(num_documents: int) -> None:
    chance = random.Random(0)
    ends = (b"", b"\0", b"\0\0", b"\xff")
    digests = [(chance.randbytes(32 - len(end)) + end) for end in (chance.choice(ends) for _ in range(num_documents))]
    found = DocumentNumbers(np.array(digests, "V32") if digests else np.empty(0, "V32"))
    expected = {digest.hex(): number for number, digest in enumerate(digests)}
    assert dict(found) == expected
    others = [
        "",
        "x",
        "0" * 64,
        "f" * 64,
        *(name.upper() + "0" for name in expected),
        *(name[:-2] for name in expected),
    ]
    assert not any(name in found for name in others if name not in expected)
