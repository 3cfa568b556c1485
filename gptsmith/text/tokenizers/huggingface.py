"""A tokenizer that somebody else trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json
from gptsmith.text.tokenizer import SEPARATOR, Tokenizer
from gptsmith.text.tokenizers import TokenizerSettings

USUAL_SEPARATORS = (SEPARATOR, "</s>", "<eos>", "<|end_of_text|>", "[SEP]")


class HuggingFaceTokenizerSettings(TokenizerSettings):
    """Reads a `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`. Nothing is trained."""

    kind: Literal["huggingface"] = "huggingface"
    path: str
    """The file, or the folder that it is in."""

    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        path = Path(self.path)
        folder = path if path.is_dir() else path.parent
        file = path / "tokenizer.json" if path.is_dir() else path
        if file.is_file():
            backend = _read(file)
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            backend = _gpt2(folder)
        else:
            raise UserError(f"{path} holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt")
        return Tokenizer(backend, _separator(backend, folder))


def _read(file: Path) -> Backend:
    try:
        return Backend.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"{file} is not a tokenizer that can be read: {error}") from None


def _gpt2(folder: Path) -> Backend:
    vocab = read_json(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    backend = Backend(models.BPE(vocab, [(left, right) for left, right in pairs]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    return backend


def _separator(backend: Backend, folder: Path) -> str:
    """The token that ends a document: what the tokenizer's config says, or a usual one that it has."""
    config = folder / "tokenizer_config.json"
    named: Any = read_json(config).get("eos_token") if config.is_file() else None
    if isinstance(named, dict):
        named = named.get("content")
    for token in (named, *USUAL_SEPARATORS):
        if token and backend.token_to_id(token) is not None:
            return str(token)
    raise UserError(
        f"{folder}: no token that ends a document was found (name one as eos_token in tokenizer_config.json)"
    )
