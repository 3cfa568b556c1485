"""gptsmith generate"""

from __future__ import annotations

import sys

from gptsmith.commands.options import SAMPLING, Json, command, seed_of
from gptsmith.workflows.requests import GenerateRequest


@command(
    GenerateRequest,
    arguments={"run": "RUN", "prompt": "PROMPT"},
    panels={"Text": ("prompts", "max_tokens", "stop", "slide"), **SAMPLING, "Machine": ("device",)},
    examples=(
        'gptsmith generate runs/mine "Once upon a time" --temperature 0.7',
        "gptsmith generate runs/mine --prompts prompts.jsonl --seed 1",
    ),
)
def generate(request: GenerateRequest, json: Json = False) -> None:
    """Continue a prompt. Without one, start a new document."""
    from gptsmith.base import console
    from gptsmith.base.terminal import visible
    from gptsmith.convert.load import load
    from gptsmith.generate.api import generate_with
    from gptsmith.generate.engine import Engine
    from gptsmith.generate.settings import EngineSettings
    from gptsmith.workflows.generate import figures_of, prompts_of

    prompt, prompts = request.prompt, request.prompts
    from_input = prompt == "-" or (prompt is None and prompts is None and not sys.stdin.isatty())
    rows = prompts_of(prompts) if prompts is not None else [sys.stdin.read() if from_input else prompt or ""]
    loaded = load(request.run, device=request.device)
    loaded.require_words()
    sampling = loaded.sampling(request.sampling())
    seed = seed_of(request, sampling)
    engine = Engine(loaded.model, loaded.tokenizer, settings=EngineSettings(max_num_seqs=1))
    for row in rows:
        generation = generate_with(
            engine, loaded.tokenizer, row,
            max_tokens=request.max_tokens, sampling=sampling, seed=seed, stop=request.stop, slide=request.slide,
        )  # fmt: skip
        quiet = json or prompts is not None
        if not quiet:
            sys.stdout.write(row)
        for piece in generation:
            if not quiet:
                sys.stdout.write(visible(piece))
                sys.stdout.flush()
        if quiet:
            console.show_json({**figures_of(generation, row), "seed": seed})
            continue
        sys.stdout.write("\n")
        if generation.finish_reason == "context":
            console.note(f"the context of {loaded.config.context_length} tokens is full: --slide continues", "dim")
