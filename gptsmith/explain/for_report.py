"""What is found inside a trained model, for its report: roles of heads, depth, and examples that are tested."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.convert.load import Loaded, load
from gptsmith.explain.answer import Answer
from gptsmith.explain.claim import Claim
from gptsmith.explain.explaining import explained, methods_of, num_tested
from gptsmith.explain.lens import decided_after, lens_logits
from gptsmith.explain.methods.head_roles import head_roles
from gptsmith.explain.own_text import own_text
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.units import Passage
from gptsmith.generate.inference_model import inference_model
from gptsmith.model.gpt import GPT
from gptsmith.run.folder import INSIDE
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.report import report
from gptsmith.train.validation_text import validation_text

NUM_EXAMPLES, NUM_PLACES, CONTEXT_TOKENS = 3, 24, 48


def add_inside(run: str | Path, *, seconds: float = 10.0) -> None:
    """Looks inside the model of a run, keeps what is found there, and writes the run's report anew.

    Raises:
        UserError: as `look_inside`, or the model cannot be read, or nothing can be written.
    """
    folder = Path(run)
    write_json(folder / INSIDE, look_inside(load(folder), seconds=seconds))
    report(folder)


def look_inside(
    loaded: Loaded, *, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """What is found inside a model on its validation text, as JSON values: `step`, `heads` and `examples` with their
    claims, and `depth`. After so many seconds nothing more is begun, and what a model cannot be asked is left out.

    Raises:
        UserError: its validation text is not here, or is too short.
    """
    deadline = clock() + seconds
    model, tokenizer = inference_model(loaded.model), loaded.tokenizer
    contexts = _contexts(loaded)
    found: dict[str, Any] = {"step": loaded.run.step, "heads": _heads(model, tokenizer)}
    if clock() < deadline:
        found["depth"] = _depth(model, tokenizer, contexts)
    if clock() < deadline:
        other = own_text(model, tokenizer)
        found["examples"] = []
        for context in contexts[:NUM_EXAMPLES]:
            if clock() < deadline:
                found["examples"] += _example(_answer(model, tokenizer, context, other))
    return found


def _contexts(loaded: Loaded) -> list[tuple[int, ...]]:
    """Passages of the validation text, evenly apart."""
    text, _ = validation_text(loaded.run)
    length = min(CONTEXT_TOKENS, loaded.config.context_length)
    number = min(NUM_PLACES, len(text) // length)
    if number < NUM_EXAMPLES:
        raise UserError(f"the validation text of {len(text):,} tokens is too short to look for what is inside")
    apart = (len(text) - length) // (number - 1)
    return [tuple(text.slice(start, start + length).tolist()) for start in range(0, number * apart, apart)]


def _answer(model: GPT, tokenizer: Tokenizer, context: Sequence[int], other: tuple[int, ...] = ()) -> Answer:
    """The token that a model would most probably write after a context, as its answer."""
    ids = tuple(context)
    prompt = Prompt(ids, (Passage(tokenizer.decode(ids, keep_special=True), 0, ids),))
    with torch.inference_mode():
        logits = model(torch.tensor([ids], device=model.device))[0, -1]
    return Answer(model, tokenizer, prompt, (int(logits.argmax()),), other)


def _heads(model: GPT, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    try:
        return [_plain(claim) for claim in head_roles(model, tokenizer)]
    except UserError:
        return []


def _depth(model: GPT, tokenizer: Tokenizer, contexts: Sequence[Sequence[int]]) -> dict[str, Any] | None:
    """After how many blocks half of the answers are what they remain; None where early blocks cannot be read."""
    depths = []
    for context in contexts:
        with suppress(UserError):  # no other word is far from this one, or the head reads no early block
            question = _answer(model, tokenizer, context).question(0)
            logits = lens_logits(question)
            depths.append(decided_after(logits[:, question.target] - logits[:, question.against]))
    if not depths:
        return None
    num_blocks = model.config.num_layers
    says = (
        f"Of {len(depths)} words that it would write, half are decided after {median(depths):g} of {num_blocks} "
        "blocks, as its head reads early blocks, which were not made to be read so."
    )
    return {"says": says, "num_blocks": num_blocks, "depths": depths}


def _example(answer: Answer) -> list[dict[str, Any]]:
    """A word with the claims about it; none where it cannot be explained."""
    methods = methods_of(by="words")
    try:
        question = answer.question(0, num_claims=num_tested(methods))
        found = explained(
            question, methods, run="", step=0, prompt="", reply=answer.text, span=answer.spans[0], is_lenient=True
        )
    except UserError:
        return []
    context = answer.prompt.passages[0].text
    return [{"context": context, "word": answer.text, "claims": [_plain(claim) for claim in found.claims]}]


def _plain(claim: Claim) -> dict[str, Any]:
    return {"kind": claim.kind, "says": claim.says, "verdict": claim.verdict, "why": claim.why}
