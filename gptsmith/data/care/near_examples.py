"""Near duplicates among examples: those whose questions, or all of whose texts, are nearly the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.console import meter as console_meter
from gptsmith.base.files import writing
from gptsmith.base.leftovers import temporary_folder
from gptsmith.data.care.near_duplicates import FOLDER, LARGEST_SHARE, groups_of, near_duplicates
from gptsmith.data.corpus import Corpus, MeterFactory
from gptsmith.data.corpus_build import DOCUMENT, TABLE_FILE, TEXT_FILE
from gptsmith.data.shapes import Example

FEW_EXAMPLES = 10
"""A group of so many is not too large, if there are as many others."""


@dataclass(frozen=True)
class NearExamples:
    """The near duplicates among examples.

    Attributes:
        group_of: (N,), the first example of the group of each example, of those with the same question at least; None
            if they were not looked for.
        groups: the examples of each group of several questions, in order.
        num_apart: those that are nearly the same, and in no group because it would have more than a tenth of all
            examples, and leave too few others.
    """

    group_of: np.ndarray | None
    groups: Sequence[np.ndarray] = ()
    num_apart: int = 0

    @property
    def num_together(self) -> int:
        """The examples in groups of several questions."""
        return sum(map(len, self.groups))

    def pairs(self, examples: Sequence[Example]) -> list[dict[str, str]]:
        """The place of each example that is in a group with an earlier one, and that of the first of the group (`of`),
        as JSON values."""
        return [
            {"place": examples[number].place, "of": examples[int(members[0])].place}
            for members in self.groups
            for number in members[1:].tolist()
        ]

    @property
    def notes(self) -> list[str]:
        """Lines for a person."""
        together = f"examples that are nearly the same stay in one split: {self.num_together:,}"
        apart = (
            "examples that are nearly the same, but over a tenth of all, so that they are in several splits: "
            f"{self.num_apart:,}"
        )
        return [*([together] if self.num_together else []), *([apart] if self.num_apart else [])]


def near_examples(examples: Sequence[Example], cache: Path, meter: MeterFactory = console_meter) -> NearExamples:
    """The groups of near duplicates: two examples are in the same if their questions, or their texts together, are near
    duplicates of each other, or if there is a chain of such examples between them. A template, such as the same
    instructions before every question, does not make them that. The same for the same examples in any order.

    Raises:
        UserError: the disk is full.
    """
    with _texts_of(examples, cache) as corpus:
        found = near_duplicates([corpus], cache, meter, unit_size=2, has_template=True)
        questions = np.ascontiguousarray(corpus.table["sha256"][::2]).view("<u8").reshape(-1, 4)[:, 0]
    group_of = found.group_of[::2] // 2
    several = [members for members in groups_of(group_of) if len(np.unique(questions[members])) > 1]
    together = [members for members in several if not _is_too_large(len(members), len(examples))]
    apart = [members for members in several if _is_too_large(len(members), len(examples))]
    for members in apart:
        _, first, question_of = np.unique(questions[members], return_index=True, return_inverse=True)
        group_of[members] = members[first][question_of]
    return NearExamples(group_of, together, sum(map(len, apart)))


def _is_too_large(size: int, num_examples: int) -> bool:
    return size > LARGEST_SHARE * num_examples and (size > FEW_EXAMPLES or 2 * size > num_examples)


@contextmanager
def _texts_of(examples: Sequence[Example], cache: Path) -> Iterator[Corpus]:
    """The question of each example, and behind it all of its texts, as the documents of a corpus."""
    ends = 0
    with temporary_folder(private_folder(cache / FOLDER) / "texts", private=True) as folder, writing(folder):
        whole = hashlib.sha256()
        with (folder / TEXT_FILE).open("wb") as file, (folder / TABLE_FILE).open("wb") as table:
            for example in examples:
                rows = np.zeros(2, DOCUMENT)
                for row, texts in zip(rows, (example.question_texts(), example.every_text()), strict=True):
                    text = ("\n".join(texts) or "\n").encode("utf-8", "replace")  # a document is never empty
                    ends += file.write(text)
                    digest = hashlib.sha256(text).digest()
                    row["end"], row["sha256"] = ends, digest
                    whole.update(digest)
                table.write(rows.tobytes())
        yield Corpus(folder, whole.hexdigest(), [])
