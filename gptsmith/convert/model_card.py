"""A run's model card: what it is, what it was made of, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.console import label_of, readable
from gptsmith.base.errors import UserError
from gptsmith.convert.load import Loaded
from gptsmith.model.cost import cost
from gptsmith.run.privacy_claim import claim_in_a_line, claim_of

CARD = "README.md"
"""The file that the Hub shows as the card of a model."""
SCORES = (
    "validation_loss", "bits_per_byte", "test_loss", "test_accuracy", "test_reward", "general_bits_per_byte_before",
    "general_bits_per_byte", "num_general_answers", "num_general_answers_kept",
)  # fmt: skip


def model_card(loaded: Loaded, name: str) -> str:
    """The card as Markdown with the front matter that the Hub reads. Names of files are in it, no text of theirs."""
    shape = loaded.config
    result = loaded.run.result() or {}
    figures = {
        "parameters": cost(shape).num_parameters,
        "layers": shape.num_layers,
        "width": shape.embed_dim,
        "heads": f"{shape.num_heads} ({shape.num_kv_heads} key-value heads)",
        "context": f"{shape.context_length:,} tokens",
        "vocabulary": shape.vocab_size,
        "attention": shape.attention.kind,
        "position": shape.position.kind,
    }
    use = (
        "It answers conversations formatted with its chat template."
        if loaded.template is not None
        else "It continues text: it was not trained to answer or to follow instructions."
    )
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- gptsmith\n---",
        f"# {name}",
        f"A GPT made with gptsmith. {use}",
        f"## Shape\n\n{_table(figures)}",
        f"## Training\n\n{_training(loaded, result)}",
        f"## Scores\n\n{_scores(result)}",
        f"## Privacy\n\n{_privacy(claim_of(loaded.run.folder, loaded.run.result()))}",
        "## Intended use\n\nFor its makers, and the purpose that they trained it for. Its output resembles its "
        "training text, true or not, and it was not tested for anything else.",
        f"## Certificate\n\n{_certificate(result)}",
        f"## Environment\n\n{_table(_environment(loaded))}",
    ]
    return "\n\n".join(parts) + "\n"


def _certificate(result: Mapping[str, Any]) -> str:
    """Where the comparison of this copy stands, and how the run's own import was compared."""
    text = (
        "`certificate.html` says what was compared with the run that this was written from, and by which program; where"
        ' none could read the copy, it says "not run".'
    )
    if "certificate" not in result:
        return text
    reason = f" ({result['certificate_reason']})" if result.get("certificate_reason") else ""
    return f"{text} The certificate of the import from which the run was made: {result['certificate']}{reason}."


def _training(loaded: Loaded, result: Mapping[str, Any]) -> str:
    training = loaded.run.training()
    if training is None:
        family = loaded.run.lineage()[-1].request["model_type"]
        return f"Not recorded: it was imported from a model of the family {family}."
    train = training.settings["train"]
    sources = ", ".join(f"`{source}`" for source in training.sources)
    verb = "Trained on" if training.base is None else f"Fine-tuned from `{training.base}` on"
    rows = {
        "objective": train["objective"]["kind"],
        "optimizer": train["optimizer"]["kind"],
        "steps": loaded.run.step,
        "tokens": result.get("num_tokens", "not recorded"),
        "seconds": result.get("seconds", "not recorded"),
        **_data(loaded),
    }
    return f"{verb} {sources}.\n\n{_table(rows)}"


def _data(loaded: Loaded) -> dict[str, Any]:
    """The counts of the data, by split."""
    try:
        data = loaded.run.data()
    except UserError:
        return {}
    return {
        f"{part}, {unit.removeprefix('num_')}": counts[unit]
        for part in ("train", "validation", "test")
        if isinstance(counts := data.get(part), Mapping)
        for unit in ("num_documents", "num_examples", "num_tokens", "num_bytes")
        if unit in counts
    }


def _privacy(claim: Mapping[str, Any] | None) -> str:
    """What is promised of the training text, and of which."""
    if claim is None:
        return "It may recite passages of its training text: do not publish a model of private text."
    return (
        f"{claim_in_a_line(claim)}. That bounds what the weights can tell of one {claim['unit']} of the training data "
        "above. What a base of it learnt from is not covered, and may be recited."
    )


def _scores(result: Mapping[str, Any]) -> str:
    rows = {label_of(name): result[name] for name in SCORES if isinstance(result.get(name), int | float)}
    return _table(rows) if rows else "None were measured."


def _environment(loaded: Loaded) -> dict[str, Any]:
    known = loaded.run.environment()
    return {name: known[name] for name in ("gptsmith", "torch", "python", "system", "device", "dtype") if name in known}


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {readable(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])
