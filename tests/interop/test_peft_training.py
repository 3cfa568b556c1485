"""LoRA tuning takes the steps that PEFT takes, on the same weights, rates and data."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from gptsmith.convert.adapters import adapter_tensors
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.linear import linear_layers
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.transform import quantize, with_adapters
from gptsmith.text.chat_template import Encoded
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.samples import Sample, packed_batch
from gptsmith.train.schedule import ScheduleSettings, lr_multiplier
from gptsmith.train.step import train_step

NUM_STEPS, RANK, ALPHA, LEARNING_RATE, WEIGHT_DECAY, MAX_NORM = 20, 4, 8.0, 1e-2, 0.01, 1.0
BETAS, EPSILON = (0.9, 0.95), 1e-10
LONGEST, CONTEXT = 32, 96
LLAMA = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 64, "max_position_embeddings": CONTEXT, "vocab_size": 260, "initializer_range": 0.3,
    "bos_token_id": None, "eos_token_id": 256,
}  # fmt: skip
SCHEDULE = ScheduleSettings(warmup_steps=2, decay_fraction=0.9, min_lr_ratio=0.0)
MULTIPLIERS = [lr_multiplier(step, NUM_STEPS, SCHEDULE) for step in range(NUM_STEPS)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random Llama."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(1)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)).save_pretrained(folder)
    BytesTokenizerSettings().train(list, 0).save(folder)
    return folder


def steps() -> Iterator[list[tuple[list[int], int]]]:
    """The conversations of each step, of many lengths: token ids, and how many of them are asked and not learnt."""
    chance = random.Random(2)
    lengths = [[chance.randint(6, LONGEST) for _ in range(4)] for _ in range(5)]
    rows = [[([chance.randrange(256) for _ in range(n)], n // 3) for n in each] for each in lengths]
    return (rows[step % len(rows)] for step in range(NUM_STEPS))


def losses_of_ours(model: GPT) -> list[float]:
    """Two micro-batches a step: one of three conversations in a packed row, one of a single conversation."""
    model.train()
    optimizer = AdamWSettings(
        learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, beta1=BETAS[0], beta2=BETAS[1]
    ).build(model)
    losses = []
    for rows, multiplier in zip(steps(), MULTIPLIERS, strict=True):
        samples = [Sample("", [Encoded(ids, [False] * asked + [True] * (len(ids) - asked))]) for ids, asked in rows]
        batches = [packed_batch([samples[:3]]), packed_batch([samples[3:]])]
        losses.append(train_step(model, SftSettings(), optimizer, batches, multiplier, max_gradient_norm=MAX_NORM).loss)
    return losses


def losses_of_peft(model: Any) -> list[float]:
    """One padded batch a step."""
    parameters = [parameter for parameter in model.train().parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY)
    losses = []
    for rows, multiplier in zip(steps(), MULTIPLIERS, strict=True):
        input_ids, labels = torch.zeros(4, LONGEST, dtype=torch.long), torch.full((4, LONGEST), IGNORED)
        mask = torch.zeros_like(input_ids)
        for row, (ids, asked) in enumerate(rows):
            input_ids[row, : len(ids)], mask[row, : len(ids)] = torch.tensor(ids), 1
            labels[row, asked : len(ids)] = torch.tensor(ids[asked:])
        loss = model(input_ids=input_ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * multiplier
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def adapted(model: GPT) -> GPT:
    return with_adapters(model, LoraLinearSettings(rank=RANK, alpha=ALPHA, base=model.config.linear), seed=3)


def test_twenty_steps_lose_what_peft_loses(base: Path) -> None:
    folder = ModelFolder.open(base)
    ours = adapted(folder.model())
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(theirs, config)
    unknown = peft.set_peft_model_state_dict(theirs, adapter_tensors(ours, folder.family)).unexpected_keys
    assert not unknown
    expected = losses_of_peft(theirs)
    assert losses_of_ours(ours) == pytest.approx(expected, abs=1e-4)
    assert expected[-1] < expected[0] - 0.5, "and they learn"


def test_twenty_steps_over_int8_lose_what_its_dense_twin_loses(base: Path) -> None:
    """PEFT has no adapters over such weights. The twin holds the numbers that the integers stand for."""
    dense = ModelFolder.open(base).model()
    int8 = quantize(dense)
    layers = linear_layers(dense)
    with torch.no_grad():
        for place, layer in linear_layers(int8).items():
            layers[place].load_dense_weight(layer.matrix())
    expected = losses_of_ours(adapted(dense))
    assert losses_of_ours(adapted(int8)) == pytest.approx(expected, abs=1e-4)
    assert expected[-1] < expected[0] - 0.5
