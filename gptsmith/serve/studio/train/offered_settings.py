"""The settings that the page offers, made from the settings classes and their JSON Schema."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from gptsmith.base.settings import Settings, group_of
from gptsmith.train.run_settings import FinetuneSettings, RunSettings

CLASSES: Mapping[str, type[Settings]] = {"pretrain": RunSettings, "finetune": FinetuneSettings}
OPTIONS_OR_PATHS = frozenset(
    {
        "made_by", "train.objective.reward", "train.objective.teacher", "tokenizer.path", "train.num_steps",
        "data.num_canaries", "train.private.epsilon", "data.redact",
    }
)  # fmt: skip
"""Settings that name files or code, which the page does not; and those that other parts of the page set."""
GROUPS = {
    "pretrain": ("model", "train", "tokenizer", "data", "checkpoint"),
    "finetune": ("train", "examples", "data", "checkpoint", "model.linear"),
}
"""The groups that are offered, by verb. The others send metrics elsewhere, are for several processes, or are decided by
the model that training begins with."""
KINDS_WITH_PATHS = ("huggingface", "distillation")


@functools.cache
def offered_settings(verb: str) -> tuple[dict[str, Any], ...]:
    """Each setting: its path, its group, its meaning, its default, its type (`boolean`, `integer`, `number`, `string`,
    `list`, `choice` with `choices`), bounds in words, and `only`, the path and the value of the kind that it is of."""
    found: dict[str, dict[str, Any]] = {}
    for one in _of_class(CLASSES[verb], "", None):
        path = one["path"]
        if path not in OPTIONS_OR_PATHS and any(path.startswith(f"{group}.") for group in GROUPS[verb]):
            found.setdefault(path, one)
    return tuple(found.values())


def is_offered(path: str, verb: str) -> bool:
    """Whether the page offers a setting."""
    return any(one["path"] == path for one in offered_settings(verb))


def _of_class(settings: type[Settings], prefix: str, only: dict[str, str] | None) -> Iterator[dict[str, Any]]:
    properties = settings.model_json_schema()["properties"] if prefix else {}
    for name, field in settings.model_fields.items():
        kinds, group = group_of(settings, name)
        path = f"{prefix}{name}"
        default = field.get_default(call_default_factory=True)
        if group is not None:
            if group.is_set_by_path:
                yield from _of_class(group, f"{path}.", only)
        elif kinds is not None:
            names = [kind for kind in kinds.names() if kind not in KINDS_WITH_PATHS]
            usual = getattr(default, "kind", None)
            about = {"type": "choice", "choices": names, "default": usual, "meaning": f"The kind of {name}."}
            yield {"path": f"{path}.kind", "group": prefix.rstrip(".") or name, "only": only, **about}
            for kind in sorted(names, key=lambda one: one != usual):
                yield from _of_class(kinds.settings(kind), f"{path}.", {"path": f"{path}.kind", "value": kind})
        elif name != "kind" and prefix:
            yield {"path": path, "group": prefix.rstrip("."), "only": only, **_leaf(properties[name], default)}


def _leaf(schema: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """What a person is to know of one value."""
    form = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
    kind = "choice" if "enum" in form else _TYPES.get(form.get("type", ""), form.get("type"))
    bounds = {name: form[key] for name, key in _BOUNDS.items() if key in form}
    return {
        "type": kind or "string",
        "choices": form.get("enum"),
        "default": default if isinstance(default, bool | int | float | str) else None,
        "meaning": " ".join(schema.get("description", "").split()),
        **bounds,
    }


_TYPES = {"array": "list", "object": "string"}
_BOUNDS = {"least": "minimum", "most": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}
