"""Structured output: texts that must match a JSON schema, a regular expression or a grammar. Tokens that would break
it are never sampled. By llguidance."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.json_text import json_text
from gptsmith.generate.request import Constraint, InvalidConstraintError
from gptsmith.text.tokenizer import Tokenizer

JSON_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON has one layout: if white space is free, a small model may generate nothing else."""

VALUES_OF_SCHEMAS = ("const", "enum", "default", "examples")
"""Keywords whose values are no schemas."""


class GrammarCompiler:
    """Compiles constraints to grammars over the tokens of one model."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokenizer, self.vocab_size = tokenizer, vocab_size

    def compile(self, constraint: Constraint) -> Grammar:
        """The state before the first token of a text that a constraint allows.

        Raises:
            InvalidConstraintError: the constraint, or a part of it, is not sound.
        """
        from llguidance import LLMatcher

        parts = [{**_form(part, name), "name": name} for name, part in constraint.parts.items()]
        matcher = LLMatcher(self._llguidance_tokenizer, json_text({"grammars": [_form(constraint), *parts]}))
        if matcher.is_error():
            for name, part in constraint.parts.items():
                alone = LLMatcher(self._llguidance_tokenizer, json_text({"grammars": [_form(part)]}))
                if alone.is_error():
                    raise InvalidConstraintError(part, alone.get_error(), name)
            raise InvalidConstraintError(constraint, matcher.get_error())
        return Grammar(matcher, self.vocab_size)

    @cached_property
    def _llguidance_tokenizer(self) -> Any:
        """The tokens as bytes; special tokens are never part of a text within a grammar."""
        from llguidance import LLTokenizer, TokenizerWrapper

        eos = self.tokenizer.eos_token_id
        ends = [eos, *sorted(self.tokenizer.end_ids - {eos})]
        wrapped = TokenizerWrapper(_TokenizerAdapter(self.tokenizer))
        return LLTokenizer(wrapped, n_vocab=self.vocab_size, eos_token=ends)


def _form(constraint: Constraint, name: str = "") -> dict[str, Any]:
    """A constraint without its parts as llguidance lists grammars; `name` is for the error.

    Raises:
        InvalidConstraintError: it is no JSON, or no regular expression.
    """
    from llguidance import LLMatcher

    if constraint.kind == "grammar":
        return {"lark_grammar": constraint.source}
    try:
        if constraint.kind == "regex":
            listed = LLMatcher.grammar_from_regex(constraint.source)
        else:
            schema = {"type": "object"} if constraint.kind == "json_object" else json.loads(constraint.source)
            guidance = schema.get("x-guidance") if isinstance(schema, dict) else None
            if isinstance(guidance, dict) and guidance.get("lenient"):
                schema = _without_unknown_patterns(schema)
            listed = LLMatcher.grammar_from_json_schema(json_text(schema), defaults=JSON_STYLE)
    except (ValueError, TypeError) as error:
        raise InvalidConstraintError(constraint, str(error), name) from None
    form: dict[str, Any] = json.loads(listed)["grammars"][0]
    return form


def _without_unknown_patterns(schema: Any) -> Any:
    """A JSON schema without the regular expressions that llguidance cannot read, which it refuses even where it is
    lenient about all other keywords."""
    if isinstance(schema, list):
        return [_without_unknown_patterns(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {}
    for name, value in schema.items():
        if name == "pattern" and isinstance(value, str) and not _is_known_pattern(value):
            continue
        if name == "patternProperties" and isinstance(value, dict):
            value = {pattern: one for pattern, one in value.items() if _is_known_pattern(pattern)}
        known[name] = value if name in VALUES_OF_SCHEMAS else _without_unknown_patterns(value)
    return known


def _is_known_pattern(pattern: str) -> bool:
    from llguidance import LLMatcher

    text = json_text({"type": "string", "pattern": pattern})
    return not LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(text))


class _TokenizerAdapter:
    """A tokenizer with the interface that llguidance needs."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = tokenizer.eos_token_id, None
        self.special_token_ids = sorted(tokenizer.special_ids)
        names = (str(tokenizer.backend.id_to_token(number)).encode() for number in range(tokenizer.vocab_size))
        self.tokens = [token or name for token, name in zip(tokenizer.token_bytes, names, strict=True)]

    def __call__(self, text: str | bytes) -> list[int]:
        return self.tokenizer.encode_bytes(text) if isinstance(text, bytes) else self.tokenizer.encode(text)


class Grammar:
    """The state of a text within the form that it must have."""

    def __init__(self, matcher: Any, vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    @property
    def is_complete(self) -> bool:
        """Whether the text is complete, and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def allowed_tokens(self) -> Tensor:
        """(V), true for tokens that may follow; all tokens that end a text where it may end."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        return torch.from_numpy(bits[: self._vocab_size].astype(bool))

    def accept(self, token: int) -> None:
        """Advances by a token."""
        self._matcher.consume_token(token)
