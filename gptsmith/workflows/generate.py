"""Generating text: prompts in, texts out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.verbs import verb
from gptsmith.convert.load import load
from gptsmith.generate.api import Generation, generate_with
from gptsmith.generate.engine import Engine
from gptsmith.generate.settings import EngineSettings
from gptsmith.provenance.recital import recital_guard
from gptsmith.workflows.requests import GenerateRequest


@verb(GenerateRequest, "run", "prompt")
def generate(request: GenerateRequest) -> Any:
    """Continue a prompt, or start a new document without one; or continue each of the prompts of a file. To use a model
    more than once, `gptsmith.load` it.

    Returns:
        prompt, text, finish_reason (`stop`, `length`, `context`), num_prompt_tokens, num_tokens, tokens_per_second,
        seconds, seed; with `prompts` a list of these, one for each.

    Raises:
        UserError: the model or the prompts cannot be read, a prompt is longer than the context, or a setting is not
            allowed.
    """
    rows = [request.prompt or ""] if request.prompts is None else prompts_of(request.prompts)
    found = []
    for row, generation in generations(request, rows):
        for _ in generation:
            pass
        found.append(figures_of(generation, row))
    return found[0] if request.prompts is None else found


def generations(request: GenerateRequest, prompts: Iterable[str]) -> Iterator[tuple[str, Generation]]:
    """Each prompt with its text, which is generated as it is iterated over.

    Raises:
        UserError: the model cannot be read, a prompt is longer than the context, or a setting is not allowed.
    """
    loaded = load(request.run, device=request.device, dtype=request.dtype)
    loaded.require_words()
    sampling = loaded.sampling(request.sampling())
    guard = None if request.no_recital is None else recital_guard(loaded.run, request.no_recital)
    settings = EngineSettings(engine=request.engine, max_num_seqs=1)
    engine = Engine(loaded.model, loaded.tokenizer, settings=settings, recital_guard=guard)
    for prompt in prompts:
        yield prompt, generate_with(
            engine, loaded.tokenizer, prompt,
            max_tokens=request.max_tokens, sampling=sampling, seed=request.resolved_seed, stop=request.stop,
            slide=request.slide,
        )  # fmt: skip


def prompts_of(path: str | Path) -> list[str]:
    """The `prompt` of each line of a .jsonl file.

    Raises:
        UserError: the file cannot be read, or a line has no prompt.
    """
    prompts = []
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
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
    tokens_per_second, seconds, seed."""
    return {
        "prompt": prompt,
        "text": generation.text,
        "finish_reason": generation.finish_reason,
        "num_prompt_tokens": generation.num_prompt_tokens,
        "num_tokens": generation.num_tokens,
        "tokens_per_second": generation.num_tokens / max(generation.seconds, 1e-9),
        "seconds": generation.seconds,
        "seed": generation.request.seed,
    }
