"""The shape and the cost of a model, and the memory that it will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.assignments import with_assignments
from gptsmith.base.errors import UserError
from gptsmith.base.machine import free_memory_bytes
from gptsmith.base.verbs import verb
from gptsmith.convert.certificate import recorded_figures
from gptsmith.convert.open import open_model
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.presets import preset_settings
from gptsmith.run.privacy_claim import carried_claim
from gptsmith.train.planning.model_memory import ModelMemory
from gptsmith.train.run_settings import RunSettings
from gptsmith.workflows.model_requests import InfoRequest


@verb(InfoRequest, "run")
def info(request: InfoRequest) -> dict[str, Any]:
    """Shape, cost and memory of a model or of a preset, the latter with changes such as `model.num_layers=6`.

    Returns:
        the shape (vocab_size, context_length, embed_dim, num_layers, num_heads, num_kv_heads and the kinds), the cost
        (num_parameters, ..., see `gptsmith.model.cost.Cost`), the memory that talking to it and tuning it takes, and,
        of a run, its figures so far.

    Raises:
        UserError: neither or both are given, or they cannot be read.
    """
    run, preset = request.run, request.preset
    if (run is None) == (preset is None):
        raise UserError("name a run, or a preset by --preset, and not both")
    figures: dict[str, Any]
    stored: Mapping[str, int] = {}
    if preset is not None:
        table = with_assignments({"model": preset_settings(preset)}, request.settings, RunSettings)
        if odd := sorted(table.keys() - {"model"}):
            raise UserError(f"info reads settings of the model only, not {odd[0]}")
        config = GPTConfig.parse(table["model"], f"preset {preset}")
        figures = {"preset": preset}
    else:
        if request.settings:
            raise UserError("--set changes a preset, not a run: leave it out")
        opened = open_model(str(run), by_hash=False)
        config = opened.config
        figures = {"run": str(run), "step": opened.step, **recorded_figures(opened.folder), **(opened.result() or {})}
        figures |= carried_claim(opened.folder, opened.result())
        stored = opened.stored_parameters
        figures["num_bytes"] = sum(path.stat().st_size for path in opened.model_files)
        figures["stored_parameters"] = dict(stored)
    shape = {
        "vocab_size": config.vocab_size,
        "context_length": config.context_length,
        "embed_dim": config.embed_dim,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "num_kv_heads": config.num_kv_heads,
        "head_dim": config.resolved_head_dim,
        "attention": config.attention.kind,
        "position": config.position.kind,
        "feedforward": config.feedforward.kind,
        "norm": config.norm.kind,
        "linear": config.linear.kind,
        "norm_placement": config.norm_placement,
        "tie_embeddings": config.tie_embeddings,
    }
    memory = ModelMemory(str(run or preset), config, stored, free_memory_bytes())
    return {**figures, **shape, **vars(cost(config)), "memory": memory.figures()}
