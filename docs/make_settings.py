"""Writes docs/settings.md from the settings classes: `python docs/make_settings.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.run_settings import ExampleSettings, RunSettings

HEAD = """# Settings

Everything that a run uses is a setting. It stands in the run's `run.toml`, and `--set KEY=VALUE` changes it:

```sh
gptsmith pretrain my_texts/ --set model.num_layers=6 --set model.norm=layernorm --set train.optimizer.kind=adamw
```

A value is written as in TOML; a bare word is text, and for a group with kinds it names the kind. What nobody sets has
its default or, where the table says so, is chosen for the text. A key that does not exist is refused. `run.schema.json`
beside each `run.toml` lets an editor complete and check it. Made by `python docs/make_settings.py`.
"""


TUNING = """# Of fine-tuned runs alone

Their `run.toml` has no `tokenizer` group, because a base keeps its tokens, and these besides. Where nothing is set, the
optimizer is `adamw` with a lower rate, and the rate falls to zero (`gptsmith.train.finetuning`).

## `request`
"""


def default_of(field: FieldInfo) -> str:
    """A field's default as TOML would write it."""
    if field.is_required():
        return "chosen"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return getattr(value, "kind", "")
    if value is None or value is PydanticUndefined:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(cls: type[Settings], prefix: str) -> list[str]:
    """The rows of one group, then the groups inside it."""
    rows, groups = ["| key | default | meaning |", "| --- | --- | --- |"], []
    for name, field in cls.model_fields.items():
        if field.exclude:  # of a command, and not of the run that it makes
            continue
        kinds = next((part for part in field.metadata if isinstance(part, Kinds)), None)
        annotation: Any = field.annotation
        key = f"{prefix}.{name}" if prefix else name
        if kinds is not None:
            rows.append(
                f"| `{key}` | {default_of(field)} | a kind: {', '.join(f'`{kind}`' for kind in kinds.names())} |"
            )
            for kind in kinds.names():
                groups += ["", f"### `{key}.kind = {kind}`", "", *table(kinds.settings(kind), key)]
        elif isinstance(annotation, type) and issubclass(annotation, Settings):
            groups += ["", f"## `{key}`", "", (annotation.__doc__ or "").splitlines()[0], "", *table(annotation, key)]
        elif name != "kind":
            meaning = " ".join((field.description or "").split())
            rows.append(f"| `{key}` | {default_of(field)} | {meaning} |")
    return ([] if len(rows) == 2 and groups else rows if len(rows) > 2 else ["Nothing to set."]) + groups


def page() -> str:
    """The whole page."""
    tuning = [TUNING, *table(FinetuneRequest, "request"), "", "## `examples`", "", *table(ExampleSettings, "examples")]
    return "\n".join([HEAD, *table(RunSettings, ""), "", *tuning]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(page(), encoding="utf-8")
