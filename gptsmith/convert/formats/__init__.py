"""The kinds of format that a model is written in, for other programs.

Contract: `settings.check(source)` raises where the format cannot hold the model, before anything is written;
`settings.write(source, folder)` writes its files into an empty folder; `settings.backend(folder)` is the other program
that reads what was written, or says why none does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.convert.backends import Backend
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Source:
    """A model to write.

    Attributes:
        name: the name of the model.
        model: it, with adapters only for a format that takes them; its linear layers may be quantized.
        generation: its sampling defaults: temperature, top_k, top_p.
        model_type: the family that it came from, where it came from another program.
        card: its model card, in Markdown.
        target: where the folder will lie.
        base: a folder in Hugging Face's form that holds the base of its adapters; None if there is none.
        claim: what its private training promises, as `gptsmith.run.privacy_claim` reads it; None if nothing.
    """

    name: str
    model: GPT
    tokenizer: Tokenizer
    template: ChatTemplate | None
    generation: Mapping[str, Any]
    model_type: str | None
    card: str
    target: Path = Path()
    base: Path | None = None
    claim: Mapping[str, Any] | None = None


class FormatSettings(Settings):
    """The settings of every format."""

    takes_adapters: ClassVar[bool] = False
    """Whether it is given a model's adapters; else they become part of the weights before."""
    kind: str
    precision: str
    """The dtype of the weights."""

    @property
    def keeps_blocks(self) -> bool:
        """Whether weights in blocks are written as they are; else they are dequantized before."""
        return False

    def bound(self, source: Source) -> str:
        """The precision of a copy of this model: a name of `certificate.BOUNDS`."""
        return self.precision

    @abstractmethod
    def check(self, source: Source) -> None:
        """Accepts a model that the format can hold.

        Raises:
            UserError: it cannot; the message names the part that is in the way.
        """

    @abstractmethod
    def write(self, source: Source, folder: Path) -> None:
        """Writes the model into an empty folder."""

    @abstractmethod
    def backend(self, folder: Path) -> Backend | str:
        """The other program, with what was written open; or why none reads it here."""


KINDS = Kinds(__name__, FormatSettings)
AnyFormat = Annotated[FormatSettings, KINDS]
