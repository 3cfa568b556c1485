"""A tokenizer that somebody else trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from gptsmith.base.bounded import read_text
from gptsmith.base.errors import ConfigurationError, UserError, one_line
from gptsmith.base.files import read_json, read_table
from gptsmith.text.fast_encoding import is_panic
from gptsmith.text.tokenizer import EOS_TOKEN, Tokenizer
from gptsmith.text.tokenizer_limits import require_bounded_components
from gptsmith.text.tokenizers import TokenizerSettings

TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP = "tokenizer_config.json", "special_tokens_map.json"
EXTRA_SPECIAL_TOKENS = "extra_special_tokens"
WORD_END, UNKNOWN = "</w>", "<unk>"
USUAL_EOS_TOKENS = (EOS_TOKEN, "</s>", "<eos>", "<|end_of_text|>", "[SEP]", UNKNOWN)
"""GPT-1's has none, and only the token for what it cannot spell is no text."""


class HuggingFaceTokenizerSettings(TokenizerSettings):
    """Reads a `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`. Nothing is trained."""

    kind: Literal["huggingface"] = "huggingface"
    learns_from_text: ClassVar[bool] = False
    path: str
    """The file, or the folder that it is in."""

    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        path = Path(self.path)
        folder = path if path.is_dir() else path.parent
        file = path / "tokenizer.json" if path.is_dir() else path
        if file.is_file():
            backend = _read(file)
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            backend = _merged(folder)
        else:
            raise ConfigurationError(
                f"{path} holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt"
            )
        config = _config(folder)
        ends = [token for token in config.get("end_tokens", []) if backend.token_to_id(str(token)) is not None]
        eos_token, bos_token = _eos_token(backend, folder, config), _token(config, "bos_token")
        extra = _extra(backend, config)
        _mark_special(backend, [eos_token, *([bos_token] if bos_token else []), *_tokens_of(extra)])
        return Tokenizer(backend, eos_token, bos_token, ends, extra)


def _read(file: Path) -> Backend:
    try:
        state = read_json(file)
    except UserError as error:
        raise ConfigurationError(f"{file} is not a tokenizer that can be read: {error}") from None
    try:
        require_bounded_components(state)
        backend = Backend.from_file(str(file))
    except UserError as error:
        raise ConfigurationError(f"{file} cannot be used: {error}") from None
    except BaseException as error:  # the library raises bare exceptions, and panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ConfigurationError(f"{file} is not a tokenizer that can be read: {one_line(error)}") from None
    # They belong to batches of a model that was trained on texts of one length.
    backend.no_truncation()
    backend.no_padding()
    return backend


def _merged(folder: Path) -> Backend:
    """GPT-2's tokenizer, or GPT-1's, whose words end in </w>."""
    vocab = read_json(folder / "vocab.json")
    lines = read_text(folder / "merges.txt").splitlines()
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    try:
        return _gpt1(vocab, pairs) if any(token.endswith(WORD_END) for token in vocab) else _gpt2(vocab, pairs)
    except Exception as error:  # the library raises bare exceptions
        raise ConfigurationError(
            f"{folder}: vocab.json and merges.txt are not a tokenizer that can be read: {one_line(error)}"
        ) from None


def _gpt2(vocab: dict[str, int], pairs: list[Any]) -> Backend:
    backend = Backend(models.BPE(vocab, pairs))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(EOS_TOKEN, special=True, normalized=False)])
    return backend


def _gpt1(vocab: dict[str, int], pairs: list[Any]) -> Backend:
    """Small letters, split as BERT splits."""
    backend = Backend(models.BPE(vocab, pairs, unk_token=UNKNOWN, end_of_word_suffix=WORD_END, fuse_unk=False))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix=WORD_END)
    backend.add_special_tokens([AddedToken(UNKNOWN, special=True, normalized=False)])
    return backend


def _config(folder: Path) -> dict[str, Any]:
    """The content of tokenizer_config.json, and below it that of special_tokens_map.json, which older folders have."""
    found: dict[str, Any] = {}
    for name in (SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG):
        path = folder / name
        config = read_table(path) if path.is_file() else {}
        found |= {key: value for key, value in config.items() if value not in (None, "")}
    return found


def _extra(backend: Backend, config: dict[str, Any]) -> dict[str, Any]:
    """The entries that a copy keeps: the named tokens that the vocabulary has, and the padding side."""
    names = {key: _token(config, key) for key in config if isinstance(key, str) and key.endswith("_token")}
    others = config.get("extra_special_tokens", config.get("additional_special_tokens"))
    if isinstance(others, dict):
        names |= {name: _token(others, name) for name in others if isinstance(name, str) and name.endswith("_token")}
    extra: dict[str, Any] = {
        name: token
        for name, token in names.items()
        if name not in ("eos_token", "bos_token") and token and backend.token_to_id(token) is not None
    }
    if isinstance(others, list):
        spelt = [token["content"] if isinstance(token, dict) else token for token in others]
        known = [token for token in spelt if isinstance(token, str) and backend.token_to_id(token) is not None]
        extra |= {EXTRA_SPECIAL_TOKENS: known} if known else {}
    if config.get("padding_side") in ("left", "right"):
        extra["padding_side"] = config["padding_side"]
    return extra


def _tokens_of(extra: dict[str, Any]) -> list[str]:
    named = [token for name, token in extra.items() if name.endswith("_token")]
    return [*named, *extra.get(EXTRA_SPECIAL_TOKENS, ())]


def _mark_special(backend: Backend, tokens: Iterable[str]) -> None:
    """Makes named tokens special that the tokenizer has as ordinary ones: no text is encoded to them."""
    special = {added.content for added in backend.get_added_tokens_decoder().values() if added.special}
    plain = [
        token for token in dict.fromkeys(tokens) if token not in special and backend.token_to_id(token) is not None
    ]
    if plain:
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in plain])


def _token(config: dict[str, Any], key: str) -> str | None:
    """A token that a tokenizer's config names, as itself or with how it is matched."""
    named = config.get(key)
    named = named.get("content") if isinstance(named, dict) else named
    return named if isinstance(named, str) and named else None


def _eos_token(backend: Backend, folder: Path, config: dict[str, Any]) -> str:
    """The token that ends a document: what the tokenizer's config says, or a usual one that it has."""
    for token in (_token(config, "eos_token"), *USUAL_EOS_TOKENS):
        if token and backend.token_to_id(token) is not None:
            return token
    raise ConfigurationError(
        f"{folder}: no token that ends a document was found (name one as eos_token in tokenizer_config.json)"
    )
