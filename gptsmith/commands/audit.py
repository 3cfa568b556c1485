"""gptsmith audit"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.hints import shell_command
from gptsmith.commands.found import NUM_SHOWN, print_table, show_found
from gptsmith.commands.options import Json, command, show_next
from gptsmith.commands.recited import show_recited
from gptsmith.workflows.requests import AuditRequest

TEXT_CHARACTERS = 40
NUM_NAMES = 10


@command(
    AuditRequest,
    arguments={"sources": "TEXT"},
    panels={
        "Findings": ("kind", "names", "out", "html"),
        "Data": ("validation", "passages", "encoding", "encoding_errors"),
        "A run": ("find", "minutes", "device"),
    },
    metavars={"out": "FILE", "names": "FILE", "find": "WORDS", "passages": "BYTES", "kind": "KIND"},
    examples=("gptsmith audit my_texts/ --out found.jsonl", "gptsmith audit runs/mine"),
)
def audit(request: AuditRequest, json: Json = False) -> None:
    """Find what should not go into a model (personal data, secrets), or what one knows by heart."""
    from gptsmith.base import console
    from gptsmith.workflows.audit import audit as run_audit

    figures = run_audit(request)
    if json:
        console.show_json(figures)
        return
    if "mentions" in figures:
        show_found(figures)
        if request.out is not None:
            console.note(f"written: {request.out}, which only you can read: it holds what was found")
            if figures["mentions"]:
                show_next(shell_command("forget", figures["run"], str(request.out)))
        elif len(figures["mentions"]) > NUM_SHOWN:
            _note_more(len(figures["mentions"]))
        return
    if "checkpoints" in figures:
        show_recited(figures)
        return
    found = figures["findings"]
    show_findings(found[:NUM_SHOWN])
    show_duplicates("document", "nearly the same as", figures["near_duplicates"][:NUM_SHOWN])
    show_near_examples(figures)
    show_duplicates("to validate or test with", "trained on", figures["leaks"][:NUM_SHOWN])
    show_passages(figures["repeated_passages"][:NUM_SHOWN])
    for line in summary_of(figures):
        console.results.print(line, soft_wrap=True)
    if request.html is not None:
        console.note(f"written: {request.html}, which only you can read: it holds what was found")
    if request.out is not None:
        console.note(f"written: {request.out}, which only you can read: it holds what was found")
    elif len(found) > NUM_SHOWN:
        _note_more(len(found))


def _note_more(number: int) -> None:
    """Says that not all findings were printed."""
    from gptsmith.base import console

    console.note(f"{number - NUM_SHOWN:,} more: --out found.jsonl writes all of them")


def show_findings(found: list[dict[str, Any]]) -> None:
    """Prints findings as a table. A secret is not shown whole: others may look at the screen."""
    from gptsmith.base import console
    from gptsmith.data.care.findings import hidden

    texts = (hidden(each["text"]) if each["is_secret"] else each["text"] for each in found)
    rows = [
        (console.label_of(each["kind"]), text[:TEXT_CHARACTERS], place_of(each))
        for each, text in zip(found, texts, strict=True)
    ]
    print_table(("kind", "text", "where"), rows)


def show_duplicates(document: str, of: str, found: list[dict[str, Any]]) -> None:
    """Prints pairs of documents as a table, under the names of its columns."""
    rows = [
        (place_of(each), place_of(each["of"]), "exactly" if each["is_exact"] else f"{each['similarity']:.0%}")
        for each in found
    ]
    print_table((document, of, "alike"), rows)


def show_near_examples(figures: Mapping[str, Any]) -> None:
    """Prints the examples that are nearly the same as earlier ones as a table, without those that are there as
    documents."""
    known = {f"{each['file']}, line {each['line']}" for each in figures["near_duplicates"]}
    rows = [(each["place"], each["of"]) for each in figures["near_examples"] if each["place"] not in known]
    print_table(("example", "nearly the same as"), rows[:NUM_SHOWN])


def show_passages(found: list[dict[str, Any]]) -> None:
    """Prints passages that stand in several documents as a table."""
    from gptsmith.base.files import readable_bytes

    rows = [
        (each["text"][:TEXT_CHARACTERS], readable_bytes(each["num_bytes"]), place_of(each), place_of(each["of"]))
        for each in found
    ]
    print_table(("passage", "size", "where", "and in"), rows)


def place_of(found: Mapping[str, Any]) -> str:
    """The file and the line of something that was found."""
    return str(found["file"] if found["line"] is None else f"{found['file']}, line {found['line']:,}")


def summary_of(figures: Mapping[str, Any]) -> list[str]:
    """The audit in sentences."""
    from gptsmith.base import console
    from gptsmith.data.care.finders import KINDS

    documents = f"{figures['num_documents']:,} document{'' if figures['num_documents'] == 1 else 's'}"
    if figures["counts"]:
        kinds = ", ".join(f"{KINDS.settings(kind).noun} {number:,}" for kind, number in figures["counts"].items())
        lines = [f"in {figures['num_documents_with_findings']:,} of {documents}: {kinds}"]
    else:
        lines = [f"nothing found in {documents}"]
    if figures["num_secrets"]:
        lines.append(f"secrets among them: {figures['num_secrets']:,}; change them where others have read them")
    if figures["num_duplicates"]:
        lines.append(f"copies of documents, which are read once: {figures['num_duplicates']:,}")
    if figures["near_duplicates"]:
        lines.append(f"documents that are nearly the same as an earlier one: {len(figures['near_duplicates']):,}")
    if figures["near_examples"]:
        number = len(figures["near_examples"])
        lines.append(f"examples nearly the same as an earlier one, in whose split finetune keeps them: {number:,}")
    if figures["repeated_passages"]:
        lines.append(f"long passages that stand in an earlier document, too: {len(figures['repeated_passages']):,}")
    if figures["passages_not_searched"]:
        lines.append(f"passages in several documents were not looked for: {figures['passages_not_searched']}")
    if figures["leaks"]:
        lines.append(
            f"documents to validate or test with that are trained on, too: {len(figures['leaks']):,}; what is measured "
            "on them is too good"
        )
    if names := figures["quality"]["capitalised"][:NUM_NAMES]:
        words = ", ".join(f"{each['words']} ({each['count']:,})" for each in names)
        lines.append(console.harmless(f"words with a capital that few documents have; names, perhaps: {words}"))
    lines += [
        console.harmless(f"{path}: read from {', '.join(fields)}, and from no other field")
        for path, fields in figures["text_fields"].items()
        if fields != ["text"]
    ]
    names = "Other names" if figures["num_names"] else "Names"
    lines.append(f"{names}, addresses and what has another form are not looked for: no finding is no proof.")
    return lines
