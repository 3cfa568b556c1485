"""Which columns of a table are a text and its label, whatever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.base.notices import Notice
from gptsmith.data.fields import NOTHING, PROSE, WORDS, field_kind, plain_fields, plain_name
from gptsmith.data.records import field_named, shown, text_candidates

LABEL_NAMES = ("label", "labels", "category", "class", "target", "sentiment", "intent")
TEXT_NAMES = ("text", "sentence", "content", "body", "document", "article")
"""The usual names of a single text, the surest first."""
NAMES_OF_ORIGIN = frozenset(
    ("source", "lang", "language", "dump", "split", "subset", "license", "author", "dataset", "title", "meta")
)
"""Fields that say where a text comes from, of which many texts share one."""
FEWEST_SAMPLES = 8
"""Fewer records do not show whether the values of a column repeat."""
MAX_LABEL_CHARACTERS = 60
ALONE = "for the texts alone, add --objective next_token"


@dataclass(frozen=True)
class FieldNames:
    """The fields of a table that are called otherwise than usual, by their usual names."""

    own: Mapping[str, str] = field(default_factory=dict)
    """`{"text": "Review", "label": "Stars"}`."""

    def usual(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A record with plain names, and its text and label under their usual ones."""
        named = plain_fields(fields)
        for usual, own in self.own.items():
            if own in fields:
                named[usual] = fields[own]
        if isinstance(label := named.get("label"), str):
            named["label"] = label.strip()
        return named


def field_names(
    path: Path, samples: Sequence[Mapping[str, Any]], text_field: str | None, label_field: str | None
) -> FieldNames:
    """The fields of the text and of the label in a table of single texts, by its first records.

    Raises:
        DataError: a requested field is not there, or it is not clear which one is meant; the message lists them.
    """
    names = list(dict.fromkeys(chain.from_iterable(samples)))
    label = _label(path, samples, names, label_field)
    if label is None:
        _refuse_labels_of_another_name(path, samples, names, text_field)
        return FieldNames()
    text = _text(path, samples, [name for name in names if name != label], text_field)
    return FieldNames({"label": label} if text is None else {"text": text, "label": label})


def text_name(
    path: Path, samples: Sequence[Mapping[str, Any]], text_field: str | None, usual_text: str | None
) -> FieldNames:
    """The field of the text in a table whose texts are to be labelled, by its first records. `usual_text` is a name
    that is looked for before the usual ones.

    Raises:
        DataError: the requested field is not there, or it is not clear which one is meant; the message lists them.
    """
    names = list(dict.fromkeys(chain.from_iterable(samples)))
    labels = [name for name in names if plain_name(name) in LABEL_NAMES]
    if text_field is None and usual_text is not None:
        text_field = field_named(usual_text, names)
    text = _text(path, samples, [name for name in names if name not in labels], text_field)
    return FieldNames({} if text is None else {"text": text})


def _label(
    path: Path, samples: Sequence[Mapping[str, Any]], names: Sequence[str], label_field: str | None
) -> str | None:
    if label_field is not None:
        found = field_named(label_field, names)
        if found is None:
            raise DataError(
                f"{path} has no field {label_field} (fields: {shown(names)}); "
                "name one with --set examples.label_field=NAME"
            )
        return found
    by_plain_name = {plain_name(name): name for name in names}
    if "label" in by_plain_name:
        return by_plain_name["label"]
    usual = [by_plain_name[name] for name in LABEL_NAMES if name in by_plain_name]
    if not usual:
        return None
    if len(usual) > 1:
        raise DataError(
            Notice(
                f"{path} has several fields that can be the label: {', '.join(usual)}; "
                f"name one with --set examples.label_field={usual[0]}, or {ALONE}",
                "label_which",
                file=str(path),
                fields=", ".join(usual),
                example=usual[0],
            )
        )
    if (problem := _no_labels(usual[0], samples)) is not None:
        raise DataError(
            Notice(
                f"{path}: the field {usual[0]} holds {problem}, not a few labels; if it is the answer to the text, "
                f"name them response and prompt; if it is a label, say --set examples.label_field={usual[0]}; {ALONE}",
                "label_values",
                file=str(path),
                field=usual[0],
            )
        )
    return usual[0]


def _no_labels(name: str, samples: Sequence[Mapping[str, Any]]) -> str | None:
    """The kind of a field's values if they cannot be labels, which are short and repeat; None if they can."""
    values = [sample.get(name) for sample in samples if sample.get(name) not in (None, "")]
    if any(isinstance(value, Mapping | list | tuple) for value in values):
        return "lists or records"
    if any(len(str(value)) > MAX_LABEL_CHARACTERS for value in values):
        return "texts"
    distinct = len({str(value) for value in values})
    if len(values) >= FEWEST_SAMPLES and 2 * distinct > len(values):
        return f"{distinct} different values in {len(values)} records"
    return None


def _text(path: Path, samples: Sequence[Mapping[str, Any]], names: Sequence[str], text_field: str | None) -> str | None:
    """The field of the single text; None if the texts have usual names of another form, such as a premise."""
    if text_field is not None:
        found = field_named(text_field, names)
        if found is None:
            raise DataError(
                f"{path} has no field {text_field} (fields: {shown(names)}); name one with --set data.text_field=NAME"
            )
        return found
    by_plain_name = {plain_name(name): name for name in names}
    if _is_form_of_several(by_plain_name.keys()):
        return None
    for usual in TEXT_NAMES:
        if usual in by_plain_name:
            return by_plain_name[usual]
    kinds = {name: field_kind(name, samples) for name in names}
    candidates = text_candidates(samples, kinds)
    if len(candidates) == 1:
        return candidates[0]
    problem = f"several fields of text: {shown(candidates)}" if candidates else "no field that looks like text"
    listed = shown(f"{name} ({kinds[name]})" if kinds[name] != NOTHING else name for name in names)
    raise DataError(
        Notice(
            f"{path} has {problem} (fields: {listed}); name one with --set data.text_field=NAME",
            "text_which",
            file=str(path),
            fields=listed,
        )
    )


def _is_form_of_several(plain_names: Any) -> bool:
    forms = ({"premise", "hypothesis"}, {"sentence1", "sentence2"}, {"question", "choices"})
    return any(form <= set(plain_names) for form in forms)


def _refuse_labels_of_another_name(
    path: Path, samples: Sequence[Mapping[str, Any]], names: Sequence[str], text_field: str | None
) -> None:
    """Stops where a table has nothing but texts and what looks like their labels under an unusual name.

    Raises:
        DataError: it does.
    """
    kinds = {name: field_kind(name, samples) for name in names}
    texts = [name for name in names if kinds[name] == PROSE or name == text_field]
    others = [
        name for name in names if name not in texts and (kinds[name] == WORDS or _is_scale(name, kinds[name], samples))
    ]
    if len(texts) != 1 or len(others) != 1 or plain_name(others[0]) in NAMES_OF_ORIGIN:
        return
    distinct = len({str(sample.get(others[0])) for sample in samples})
    if len(samples) >= FEWEST_SAMPLES and distinct > 1 and _no_labels(others[0], samples) is None:
        raise DataError(
            Notice(
                f"{path} has texts in the field {texts[0]}, and {others[0]} looks like their label ({distinct} "
                f"different values): for a classifier, add --set examples.label_field={others[0]}; {ALONE}",
                "label_unusual",
                file=str(path),
                text=texts[0],
                field=others[0],
            )
        )


def _is_scale(name: str, kind: str, samples: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the values are a few small numbers, such as stars."""
    values = {str(sample.get(name)).strip() for sample in samples}
    return kind in ("numbers", "true or false") and len(values) <= 10 and all(len(value) <= 5 for value in values)
