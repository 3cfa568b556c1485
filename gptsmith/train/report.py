"""The report of a run: one page that opens offline."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gptsmith.base.console import label_of, readable
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table, readable_bytes, readable_seconds, write_atomically
from gptsmith.base.hints import shell_command
from gptsmith.base.runlog import RunLog
from gptsmith.pages.compression import compression
from gptsmith.pages.figures import figures
from gptsmith.pages.shell import CHARTS, Html, element, page, section, table
from gptsmith.run.folder import COMPRESSION, Run
from gptsmith.run.privacy_claim import claim_in_a_line, claim_of
from gptsmith.train.planning.outlook import LEAD, outlook
from gptsmith.train.report_by_heart import by_heart_section
from gptsmith.train.report_inside import inside_section
from gptsmith.train.search.trials import search_figures

SCRIPTS = (*CHARTS, "search.js", "compression.js", "report.js")
REPORT = "report.html"
MAX_TEXT_CHARACTERS = 100_000
FILES_SHOWN = 20


def report(run: str | Path) -> Path:
    """Write RUN/report.html and return its path. It may be called at any time, also while the run is trained.

    The page has the figures of the run, its curves, its plan (predicted and actual, if there is a plan.json), its
    samples, what was found inside (if there is an inside.json), what it knows by heart (if there is an
    audit.json), events, data, settings and environment, and how to run
    it again. It needs no other file and no network.
    Curves, samples and events of long runs are thinned (`gptsmith.pages.figures` says how), so that the page of a run
    of any length has at most some 2 MB.

    Raises:
        UserError: there is no such run, one of its files cannot be read, or the disk is full.
    """
    folder = run_folder(run)
    events = RunLog(folder / "metrics.jsonl").events()
    shown = figures(events)
    result = _json_of(folder / "result.json")
    searched = search_figures(folder)
    details = _json_of(folder / COMPRESSION)
    path = folder / REPORT
    content = [
        _heading(folder, result),
        _headline(known := _known(result, shown, events)),
        *(
            [element("p", f"Of what the base knew: {line}.", class_="soft")]
            if not details and (line := forgetting_in_a_line(known))
            else []
        ),
        *([element("p", f"{line}.", class_="soft")] if (line := experts_in_a_line(known)) else []),
        *([element("p", f"{claim_in_a_line(claim)}.")] if (claim := claim_of(folder, result or None)) else []),
        *_certificate(folder, result),
        *_outlook(folder, result),
        *([section("Compression", compression(result, details), name="compression")] if details else []),
        *([section("Search", name="search")] if searched else []),
        section("Curves", name="curves"),
        section("Plan: predicted and actual", name="plan"),
        section("Samples, as they improve", name="samples"),
        *inside_section(folder),
        *by_heart_section(folder),
        section("Events", name="events"),
        section("Data", _data(Run(folder).data() if (folder / "data.json").exists() else {}), name="data"),
        section("Settings", element("pre", _cut(_text(folder / "run.toml"))), name="settings"),
        section("Environment", _environment(events), name="environment"),
        *([section("Reproduce", element("pre", command), name="again")] if (command := _command(folder)) else []),
    ]
    data = {
        "name": folder.resolve().name,
        "plan": plan_of(folder),
        "search": searched,
        "trials": details.get("trials", []),
        **shown,
    }
    write_atomically(path, page(f"{folder.resolve().name}: report", content, scripts=SCRIPTS, data=data))
    return path


MUCH = "much was forgotten"
STYLE = ", or is said in another way"
DEGREES = ("nothing was forgotten", "little was forgotten", "some was forgotten", MUCH)
RISES = (1.02, 1.1, 1.3)
"""From how many times the bits per byte of a known text on it is little, some and much."""
LOSSES = (0.05, 0.15, 0.4)
"""From which fraction of the base's answers that are lost on it is little, some and much."""


def forgetting_in_a_line(figures: Mapping[str, Any]) -> str:
    """`general text: 1.77 -> 3.36 bits per byte, 3 of 24 questions are still answered as before: much was forgotten`,
    the worse of both; empty if neither was measured. Answers alone may change because a style was learnt, and that is
    said too."""
    parts, degrees, changed = [], [0], 0
    before, after = figures.get("general_bits_per_byte_before"), figures.get("general_bits_per_byte")
    if isinstance(before, int | float) and isinstance(after, int | float):
        parts.append(f"{figures.get('general_text', 'general text')}: {before:.2f} -> {after:.2f} bits per byte")
        degrees.append(sum(not after < before * times for times in RISES))
    count, kept = figures.get("num_general_answers"), figures.get("num_general_answers_kept")
    if isinstance(count, int) and isinstance(kept, int) and count:
        name = figures.get("general_prompts", "questions")
        verb = {"beginnings": "continued"}.get(name, "answered")
        parts.append(f"{kept} of {count} {name} are still {verb} as before")
        changed = sum(1 - kept / count >= fraction for fraction in LOSSES)
    words = DEGREES[max(*degrees, changed)] + (STYLE if changed > max(degrees) else "")
    return f"{', '.join(parts)}: {words}" if parts else ""


def experts_in_a_line(figures: Mapping[str, Any]) -> str:
    """How evenly the last logged step used the experts of a model; empty if it has none."""
    busiest, idlest = figures.get("busiest_expert"), figures.get("idlest_expert")
    if not isinstance(busiest, float) or not isinstance(idlest, float):
        return ""
    return f"The busiest expert of a layer gets up to {busiest:.1%} of its choices, the idlest down to {idlest:.1%}"


def run_folder(run: str | Path) -> Path:
    """The folder of a run, without the libraries that loading its model takes.

    Raises:
        UserError: the folder is missing or is no run.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise UserError(f"{run}: there is no such run ({shell_command('runs')} lists them)")
    if not (folder / "run.toml").is_file():
        raise UserError(f"{run} is not a run folder: it holds no run.toml")
    return folder


def plan_of(folder: Path) -> dict[str, Any] | None:
    """`predicted`, `replanned` and `actual` of a run's plan.json; None if there is none or it cannot be read."""
    try:
        plan = Run(folder).plan()
    except UserError:
        return None
    return {key: plan.get(key) for key in ("predicted", "replanned", "actual")} if plan else None


def _heading(folder: Path, result: Mapping[str, Any]) -> Html:
    words = [str(result[key]).replace("_", " ") for key in ("status", "device", "dtype") if key in result] or [
        "not finished"
    ]
    return element(
        "header",
        element("h1", folder.resolve().name),
        element("p", "gptsmith run, ", ", ".join(words), *_base(folder), class_="soft"),
    )


def _base(folder: Path) -> list[str]:
    """The run that it was made from, with a link to its report if that lies where it can be opened from here."""
    base = Run(folder).base_folder()
    if base is None:
        return []
    if not (base / REPORT).is_file():
        return [", made from ", base.name]
    return [", made from ", element("a", base.name, href=quote(os.path.relpath(base / REPORT, folder.resolve())))]


def _known(result: Mapping[str, Any], shown: Mapping[str, Any], events: list[Any]) -> dict[str, Any]:
    """The figures of the result, or else the newest of the log."""
    newest = {name: values[-1] for name, (_, values) in shown["curves"].items()}
    starts = [row for row in events if isinstance(row, dict) and row.get("event") == "start"]
    return {**(starts[-1] if starts else {}), **newest, **result}


def _headline(known: Mapping[str, Any]) -> Html:
    """The most important figures, each of a few characters."""
    figures = {
        "validation loss": _number(known.get("validation_loss"), ".4f"),
        "bits per byte": _number(known.get("bits_per_byte"), ".4f"),
        "test loss": _number(known.get("test_loss"), ".4f"),
        "test accuracy": _number(known.get("test_accuracy"), ".1%"),
        "test reward": _number(known.get("test_reward"), ".3f"),
        "parameters": _large(known.get("num_parameters")),
        "tokens": _large(known.get("num_tokens")),
        "time": _time(known.get("seconds")),
        "tokens per second": _number(known.get("tokens_per_second"), ",.0f"),
    }
    items = [element("div", element("dt", name), element("dd", text)) for name, text in figures.items() if text]
    return element("dl", *items, class_="headline")


def _certificate(folder: Path, result: Mapping[str, Any]) -> list[Html]:
    """The outcome of the certificate of a run that was imported, or of the one that it was tuned from."""
    whose, named = "The certificate of this import", Run(folder).request().get("base")
    if "certificate" not in result and named is not None:
        with suppress(UserError):  # the base is not there any more
            result = _json_of(Path(Run(folder).paths.located(str(named))) / "result.json")
            whose = "The certificate of the imported base"
    outcome, reason = result.get("certificate"), result.get("certificate_reason")
    if not isinstance(outcome, str):
        return []
    words = f"{whose}: {outcome}{f' ({reason})' if reason else ''}."
    return [element("p", _cut(words), class_="soft")]


def _outlook(folder: Path, result: Mapping[str, Any]) -> list[Html]:
    """What to expect of a model that was trained from scratch."""
    num_parameters, num_tokens = result.get("num_parameters"), result.get("num_tokens")
    if not isinstance(num_parameters, int) or not isinstance(num_tokens, int) or Run(folder).made_by != "pretrain":
        return []
    return [element("p", f"A model of this size and text {outlook(num_parameters, num_tokens)}. {LEAD}", class_="soft")]


def _data(data: Mapping[str, Any]) -> Html:
    rows = [(name, _counts(data[name])) for name in ("train", "validation") if isinstance(data.get(name), dict)]
    rows += [(label_of(name), str(data[name])) for name in ("split_by", "fingerprint") if name in data]
    skipped, names = data.get("skipped") or {}, list(data.get("files") or {})
    return element(
        "div",
        element("div", table([("read", _counts(data)), *rows]), class_="scroll"),
        _list("files that were read", names),
        _list(
            "fields of records that are their text",
            [f"{name}: {', '.join(map(str, fields))}" for name, fields in (data.get("text_fields") or {}).items()],
        ),
        _list("files that were skipped", [f"{name}: {why}" for name, why in skipped.items()]),
    )


def _counts(data: Mapping[str, Any]) -> str:
    """`2 files, 1 document, 1.2 MB`: every `num_...` that is there."""
    texts = []
    for key, value in data.items():
        if not isinstance(value, int | float):
            continue
        if key == "num_bytes":
            texts.append(readable_bytes(value))
        elif key.startswith("num_"):
            name = key.removeprefix("num_")
            texts.append(f"{readable(value)} {name.removesuffix('s') if value == 1 else name}")
    return ", ".join(texts)


def _list(summary: str, lines: list[str]) -> Html:
    if not lines:
        return Html("")
    more = [f"and {len(lines) - FILES_SHOWN:,} more, listed in data.json"] if len(lines) > FILES_SHOWN else []
    text = "\n".join([*lines[:FILES_SHOWN], *more])
    return element("details", element("summary", f"{summary} ({len(lines):,})"), element("pre", _cut(text)))


def _environment(events: list[Any]) -> Html:
    """The environment of the last start or resume."""
    tables = [
        row["environment"] for row in events if isinstance(row, dict) and isinstance(row.get("environment"), dict)
    ]
    if not tables:
        return element("p", "Not recorded in the log.", class_="soft")
    return element(
        "div",
        table([(label_of(key), _cut(readable(value, key))) for key, value in tables[-1].items()]),
        class_="scroll",
    )


def _command(folder: Path) -> str:
    """The command that trains the run again; nothing for a run that was not trained itself."""
    request = Run(folder).request()
    if not {"base", "sources"} & request.keys():
        return ""
    names = ("validation", "test", "without", "redact_passages")
    options = [(f"--{name.replace('_', '-')}", path) for name in names for path in request.get(name, [])]
    verb = ["finetune", request["base"]] if "base" in request else ["pretrain"]
    named = [*request.get("sources", []), *chain(*options)]
    words = ["gptsmith", *verb, *named, "--config", str(folder / "run.toml")]
    return _cut(shlex.join(map(str, words)))


def _json_of(path: Path) -> dict[str, Any]:
    """The table in a file; an empty one if there is no file."""
    return read_table(path, with_names=True) if path.exists() else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "\n… cut here"


def _number(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else ""


def _large(value: Any) -> str:
    if not isinstance(value, int | float) or value < 1e6:
        return _number(value, ",.0f")
    return f"{value / 1e9:.3g}B" if value >= 1e9 else f"{value / 1e6:.3g}M"


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return readable_seconds(seconds)
