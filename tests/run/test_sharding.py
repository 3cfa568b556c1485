"""A sharded model made whole again, in a process of its own that is its whole group."""

from __future__ import annotations

import os
import traceback
from typing import NoReturn

import torch
from torch.distributed import HashStore

from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.sharding import is_sharded, sharded_from, unsharded
from tests.forked import PROCESSES
from tests.train.fakes import SHAPE

LORA = {"kind": "lora", "rank": 2}


def check(config: GPTConfig, dtype: torch.dtype) -> None:
    ids = torch.arange(8)[None] % config.vocab_size
    model = GPT(config, seed=1)
    model.compute_dtype = dtype
    expected = model(ids)
    sharded = sharded_from(model, torch.device("cpu"), dtype)
    sharded.hidden(ids)  # leaves what is in no block gathered
    whole = unsharded(sharded)
    torch.testing.assert_close(whole(ids), expected)
    assert whole.head_weight.data_ptr() == whole.embedding.weight.data_ptr() or not config.tie_embeddings
    for name, parameter in whole.named_parameters():
        assert not is_sharded(parameter)
        assert not parameter.requires_grad
        assert parameter.dtype == (dtype if name.startswith("blocks.") else torch.float32)
    assert all(map(is_sharded, sharded.parameters()))


def work() -> NoReturn:
    code = 1
    try:
        torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        for change in ({}, {"tie_embeddings": False}, {"linear": LORA}):
            for dtype in (torch.float32, torch.bfloat16):
                check(preset("smith", **SHAPE, **change), dtype)
        code = 0
    except Exception:
        traceback.print_exc()
    os._exit(code)  # threads of the group may abort a process that takes itself apart


def test_an_unsharded_model_is_the_whole_one_in_the_dtype_that_its_blocks_compute_in() -> None:
    process = PROCESSES.Process(target=work, daemon=True)
    process.start()
    process.join(120)
    assert process.exitcode == 0
