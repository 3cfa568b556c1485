"""Prompts in, texts out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.generate.api import Generation


def prompts_of(path: str | Path) -> list[str]:
    """The `prompt` of each line of a .jsonl file.

    Raises:
        UserError: the file cannot be read, or a line has no prompt.
    """
    prompts = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError):
            prompt = None
        if not isinstance(prompt, str):
            raise UserError(f'{path}, line {number}: expected an object such as {{"prompt": "Once upon a time"}}')
        prompts.append(prompt)
    if not prompts:
        raise UserError(f"{path} holds no prompts")
    return prompts


def figures_of(generation: Generation, prompt: str) -> dict[str, Any]:
    """A finished generation as a JSON object: prompt, text, finish_reason, num_prompt_tokens, num_tokens,
    tokens_per_second, seconds."""
    return {
        "prompt": prompt,
        "text": generation.text,
        "finish_reason": generation.finish_reason,
        "num_prompt_tokens": generation.num_prompt_tokens,
        "num_tokens": generation.num_tokens,
        "tokens_per_second": generation.num_tokens / max(generation.seconds, 1e-9),
        "seconds": generation.seconds,
    }
