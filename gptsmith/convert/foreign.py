"""A model that another program wrote, as a folder or as a file.

Contract: it has been checked as far as that goes without reading a weight; `weights()` reads them one by one, in the
dtype that they are kept in; `backend()` is another program that reads the same files, for a certificate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gptsmith.convert.backends import Backend
from gptsmith.convert.families import Family
from gptsmith.convert.state_dict import model_of
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer


class ForeignModel(ABC):
    """
    Attributes:
        path: the folder or the file.
        name: the name of the model.
        family: its family.
        shape: its shape.
        tokenizer: its tokenizer.
        template: its chat template; None if it was not made for conversations.
        precision: the precision of its weights: a name of `certificate.BOUNDS`.
    """

    path: Path
    name: str
    family: Family
    shape: GPTConfig
    tokenizer: Tokenizer
    template: ChatTemplate | None
    precision: str

    @property
    @abstractmethod
    def model_files(self) -> list[Path]:
        """The files that the model is made of."""

    @property
    @abstractmethod
    def stored_parameters(self) -> Mapping[str, int]:
        """The number of parameters by the dtype, or the type of blocks, that the files hold them in."""

    @abstractmethod
    def sampling(self) -> dict[str, Any]:
        """The sampling defaults that we know; empty if there are none."""

    @abstractmethod
    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Our parameters, in the dtype that the files keep; of rounded weights, float32.

        Raises:
            ConversionError: a weight is not finite.
        """

    @abstractmethod
    def backend(self) -> Backend | str:
        """The other program that reads the files; or why none does here."""

    def model(self) -> GPT:
        """The model, in evaluation mode, as `model_of` makes it: each weight is read once, into its place.

        Raises:
            ConversionError: a weight is not finite.
        """
        return model_of(self.shape, self.weights())
