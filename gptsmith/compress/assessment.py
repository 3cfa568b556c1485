"""How far a smaller model is from the original: its predictions, its scores, and the text that it writes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptsmith.base.console import meter
from gptsmith.compress.difference import difference
from gptsmith.compress.material import COMPARED_TOKENS, GIVEN_TEXT, OWN_TEXT, Material
from gptsmith.convert.load import Loaded
from gptsmith.evaluate.bootstrap_units import UnitScores, score_units
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.train.known_answers import general_prompts

NUM_PROMPTS, WRITTEN_TOKENS = 10, 48
SEED = 0
"""Of the bootstrap."""
SCORED_TOKENS, SCORED_PRODUCTS = 1 << 16, 1 << 41
"""Of the validation text, from all over it, at the most; and tokens times parameters: two models read them."""


def assess(material: Material, after: GPT) -> dict[str, Any]:
    """The distance of `after` from the original, as figures: on the text that was given, else on the
    validation text if it can be read, else on general text."""
    before, is_own = material.original, material.validation_source == OWN_TEXT
    gap = difference(before, after, material.validation_windows())
    was, now = (_units(material, model) for model in (before, after))
    change = now.metric.compare(was.metric, SEED)
    prefix = "" if is_own else "general_"
    low, high = change["difference_interval"]
    return {
        "compared_on": material.validation_source,
        "num_compared_tokens": gap.num_tokens,
        "kl_divergence": gap.kl_divergence,
        "largest_logit_difference": gap.largest,
        "mean_logit_difference": gap.mean,
        "top1_agreement": gap.top1_agreement,
        "num_scored_tokens": was.whole.num_tokens,
        f"{prefix}bits_per_byte_before": was.whole.bits_per_byte,
        f"{prefix}bits_per_byte": now.whole.bits_per_byte,
        f"{prefix}bits_per_byte_rise_low": low,
        f"{prefix}bits_per_byte_rise_high": high,
        **({"validation_loss": now.whole.validation_loss} if is_own else {}),
        **(_score_agreement(material, after) if before.config.num_labels else {}),
    }


def _units(material: Material, model: GPT) -> UnitScores:
    stream = material.validation
    most = min(SCORED_TOKENS, max(COMPARED_TOKENS, SCORED_PRODUCTS // material.original.num_parameters))
    with meter("measuring the validation loss", min(len(stream), most)) as bar:
        sizes = material.tokenizer.num_bytes_per_token
        return score_units(model, stream, sizes, max_tokens=most, observe=bar.update)


@torch.inference_mode()
def _score_agreement(material: Material, after: GPT) -> dict[str, float]:
    """How often a classifier gives a text the label that the original gives it, and how far a reward model's scores go
    along with the original's: over beginnings of the text, each up to another token."""
    scores: list[tuple[Tensor, Tensor]] = []
    for input_ids, counts in material.validation_windows():
        one, other = (model.scores(model.hidden(input_ids))[counts] for model in (material.original, after))
        scores.append((one, other))
    was, now = (torch.cat(each) for each in zip(*scores, strict=True))  # (N, num_labels)
    if was.shape[1] > 1:
        return {"label_agreement": float((was.argmax(dim=1) == now.argmax(dim=1)).double().mean())}
    return {"reward_correlation": float(torch.corrcoef(torch.stack((was[:, 0], now[:, 0])))[0, 1])}


def side_by_side(material: Material, after: GPT) -> list[dict[str, str]]:
    """`prompt`, and the likeliest text after it `before` and `after`, of ten prompts; none of a model that writes no
    text, and none that has no room in the context."""
    before, tokenizer = material.original, material.tokenizer
    if before.config.num_labels:
        return []
    stream = material.validation if material.validation_source in (OWN_TEXT, GIVEN_TEXT) else None
    _, prompts = general_prompts(Loaded(material.run, before), stream)
    room = before.config.context_length - 1
    prompts = [prompt for prompt in prompts[:: max(1, len(prompts) // NUM_PROMPTS)] if len(prompt) < room][:NUM_PROMPTS]
    if not prompts:
        return []
    texts = [
        generate_batch(
            model, tokenizer, prompts, max_tokens=WRITTEN_TOKENS, sampling=SamplingSettings(temperature=0),
            seeds=[SEED] * len(prompts),
        )
        for model in (before, after)
    ]  # fmt: skip
    return [
        {"prompt": tokenizer.decode(list(prompt)), "before": one.text, "after": other.text}
        for prompt, one, other in zip(prompts, *texts, strict=True)
    ]
