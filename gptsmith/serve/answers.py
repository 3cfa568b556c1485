"""What was written, as OpenAI's API says it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from gptsmith.generate.request import Likely, Told
from gptsmith.serve.models import ServedModel


class Answer:
    """The head that all parts of one answer share."""

    def __init__(self, served: ServedModel, prefix: str, kind: str) -> None:
        self.served = served
        self.head = {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": served.name}
        self.kind = kind

    def body(self, choices: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The answer, or a chunk of it."""
        return {**self.head, "object": self.kind, "choices": list(choices), **more}

    def text_choice(
        self, index: int, text: str, tokens: Sequence[Told], finish_reason: str | None, *, tells: bool, offset: int = 0
    ) -> dict[str, Any]:
        """A choice of /v1/completions. `offset` is where its text begins in the whole."""
        logprobs = self._text_logprobs(tokens, offset) if tells else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}

    def chat_logprobs(self, tokens: Sequence[Told]) -> dict[str, Any]:
        """The log-probabilities of a message's tokens."""
        content = [
            {**self._token(told.token), "top_logprobs": [self._token(other) for other in told.alternatives]}
            for told in tokens
        ]
        return {"content": content, "refusal": None}

    def _text_logprobs(self, tokens: Sequence[Told], offset: int) -> dict[str, Any]:
        words = [self._word(told.token) for told in tokens]
        offsets = []
        for word in words:
            offsets.append(offset)
            offset += len(word)
        return {
            "tokens": words,
            "token_logprobs": [told.token.logprob for told in tokens],
            "top_logprobs": [
                {self._word(other): other.logprob for other in told.alternatives} if told.alternatives else None
                for told in tokens
            ],
            "text_offset": offsets,
        }

    def _token(self, likely: Likely) -> dict[str, Any]:
        data = self.served.tokenizer.decode_bytes([likely.id], keep_special=True)
        return {"token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": likely.logprob}

    def _word(self, likely: Likely) -> str:
        return self.served.tokenizer.decode_bytes([likely.id], keep_special=True).decode("utf-8", "replace")
