"""A first guess of a plan, in milliseconds: from the measured speed, and from earlier plans of the same data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptsmith.base.settings import merged
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.memory import PROCESS_BYTES
from gptsmith.model.presets import preset_settings
from gptsmith.text.tokenizers.bpe import suitable_vocab_size
from gptsmith.train.planning.memory import expected_peak_bytes
from gptsmith.train.planning.plan import Corpus, TooShortError, expectation, interval, plan_seconds
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.planning.time_budget import without_embeddings
from gptsmith.train.request import FinetuneRequest, PretrainRequest

BYTES_PER_TOKEN = 3.3
"""Of English text with a vocabulary that suits its size; other texts have other figures."""
BYTES_PER_EXAMPLE_TOKEN = 4.0
"""Of the large vocabularies of models that exist."""
TRAINING_SHARE = 0.9
"""Of a text; the rest is validated on."""
START_S, TUNING_START_S = 8.0, 30.0
"""Reading the data, and loading the model, before the first step."""
STEPS_SHARE = 0.7
"""Of the time of a fine-tuning, without its evaluations."""
USUAL_EPOCHS = 3.0
PREPARED_BYTES = 340_000_000
"""What a process has beside PyTorch when its text is read and encoded, and its speed measured: before the model."""
MUON_BYTES = 4


@dataclass(frozen=True)
class Amount:
    """How much there is to train on."""

    num_bytes: int
    num_documents: int | None = None


def new_model(
    request: PretrainRequest, amount: Amount, speed: Speed | None, earlier: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The figures of a plan for the default model as far as they can be guessed; None if they cannot.

    Args:
        earlier: the figures of an exact plan of the same data, for another time: its tokens and its difficulty are
            known.
    """
    is_shaped = any(one.startswith("model.") for one in request.settings)
    if speed is None or request.minutes is None or request.preset != "smith" or is_shaped:
        return None
    vocab_size = suitable_vocab_size(amount.num_bytes)
    corpus = Corpus(max(1, round(TRAINING_SHARE * amount.num_bytes / BYTES_PER_TOKEN)), amount.num_bytes, 1.0)
    if earlier is not None:
        corpus = corpus_of_plan(earlier, amount)
        vocab_size = earlier["vocab_size"]
    base = merged(preset_settings("smith"), {"vocab_size": vocab_size})
    left_s = request.minutes * 60 - START_S
    try:
        plan = plan_seconds(left_s, corpus, speed.seconds_per_token, base, params=request.params)
    except TooShortError:
        return None
    config = GPTConfig.parse(merged(base, plan.model))
    per_token = speed.seconds_per_token(config, plan.tokens_per_step)
    bytes_now = PROCESS_BYTES + PREPARED_BYTES
    figures: dict[str, Any] = {
        "seconds": START_S + plan.num_tokens * per_token,
        "num_parameters": cost(config).num_parameters,
        "num_tokens": plan.num_tokens,
        "epochs": plan.num_tokens / corpus.num_tokens,
        "tokens_per_second": 1 / per_token,
        "peak_memory_bytes": expected_peak_bytes(config, plan.tokens_per_step, bytes_now, MUON_BYTES, 4),
    }
    if earlier is not None and "bits_per_byte" in earlier:
        bits = expectation(plan.num_tokens, without_embeddings(config), corpus)
        low, high = interval(bits, plan.num_tokens)
        figures |= {"bits_per_byte": bits, "bits_per_byte_low": low, "bits_per_byte_high": high}
    return figures


def corpus_of_plan(plan: Mapping[str, Any], amount: Amount) -> Corpus:
    """The corpus that an exact plan was made for, its difficulty from the loss that was expected."""
    num_tokens = round(plan["num_tokens"] / plan["epochs"])
    easy = Corpus(num_tokens, round(TRAINING_SHARE * amount.num_bytes), 1.0)
    if "bits_per_byte" not in plan:
        return easy
    blocks = plan["num_parameters"] - 2 * plan["vocab_size"] * plan["embed_dim"]
    difficulty = plan["bits_per_byte"] / expectation(plan["num_tokens"], blocks, easy)
    return Corpus(num_tokens, easy.num_bytes, difficulty)


def tuning(
    request: FinetuneRequest,
    amount: Amount,
    num_parameters: int,
    tuning_bytes: Mapping[str, int],
    speed: Speed | None,
    earlier: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The figures of a plan of a fine-tuning as far as they can be guessed."""
    way = "all_weights" if request.lora is None and "all_weights" in tuning_bytes else "lora"
    figures: dict[str, Any] = {"num_parameters": num_parameters, "peak_memory_bytes": tuning_bytes.get(way)}
    per_epoch = TRAINING_SHARE * amount.num_bytes / BYTES_PER_EXAMPLE_TOKEN
    rate = None if speed is None else tokens_per_second(speed, num_parameters, has_adapters=way == "lora")
    if earlier is not None:
        per_epoch = earlier["num_tokens"] / earlier["epochs"]
        rate = earlier["tokens_per_second"]
        figures["peak_memory_bytes"] = earlier["peak_memory_bytes"]
    if rate is None:
        return figures
    left_s = math.inf if request.minutes is None else max(0.0, request.minutes * 60 - TUNING_START_S)
    affordable = left_s * STEPS_SHARE * rate
    num_tokens = min(affordable, per_epoch * (request.epochs or USUAL_EPOCHS))
    seconds = TUNING_START_S + num_tokens / rate / STEPS_SHARE
    return figures | {
        "seconds": seconds,
        "num_tokens": round(num_tokens),
        "epochs": num_tokens / max(per_epoch, 1),
        "tokens_per_second": rate,
    }


def tokens_per_second(speed: Speed, num_parameters: int, *, has_adapters: bool) -> float:
    """About how many tokens per second a model that exists is tuned on here; adapters alone need no gradients of the
    weights below them. Such models are larger than those whose speed was measured, and reach the highest rate."""
    rate = max(flops / passes_s for flops, passes_s, _ in speed.points)
    return rate / ((4 if has_adapters else 6) * max(num_parameters, 1))
