"""A certificate: what was compared of two models, with which numbers, and whether they are the same model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gptsmith.base.console import label_of
from gptsmith.base.errors import ConversionError, GptsmithError
from gptsmith.base.files import read_json, readable_bytes, sha256_of, write_atomically, write_json
from gptsmith.convert.backends import Backend, Rendered
from gptsmith.convert.probe_texts import CONVERSATIONS, PROMPTS, TEXTS, spelt
from gptsmith.pages.shell import Html, element, page, section, table
from gptsmith.version import __version__

CERTIFICATE, PAGE = "certificate.json", "certificate.html"
MAX_PROMPT_TOKENS = 64
GREEDY_TOKENS = 32


@dataclass(frozen=True)
class Bound:
    """The largest distance of two copies: the mean divergence in nats, and the largest difference of two logits as a
    share of the largest logit."""

    divergence: float
    largest: float
    rerouted_share: float = 0.0
    """The share of positions, those of the largest distance, that are not judged."""


BOUNDS = {
    "float32": Bound(2e-6, 2e-3),
    "float16": Bound(5e-5, 2e-2),
    "bfloat16": Bound(2e-3, 1e-1),
    "q8_0": Bound(1e-2, 2e-1),
}
"""By what the copy's weights are kept in: a few times what llama.cpp is apart from us, which rounds activations as it
rounds weights, and looks GPT-2's activation up in a table of float16 whatever the weights are."""

REROUTED_SHARE = 0.1
"""The share of positions that are not judged where a model chooses experts and the copy's weights are rounded: two
experts may be as likely for a token, and the choice of the other is no fault. A wrong expert shows in more of them."""

Status = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class Check:
    """One comparison."""

    name: str
    status: Status
    figures: dict[str, Any] = field(default_factory=dict)
    bound: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    """The fault, or the reason why it was not run."""


@dataclass(frozen=True)
class Side:
    """One of the two models."""

    name: str
    reader: str
    """The program that read it, or why none did."""
    num_bytes: int
    files: dict[str, str]
    """The SHA-256 of each file."""


NOBODY = Side("", "", 0, {})


@dataclass(frozen=True)
class Certificate:
    """All that was compared."""

    title: str
    sides: tuple[Side, Side]
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """`failed` where a check failed, `not run` where the logits were not compared, else `passed`."""
        states = {check.name: check.status for check in self.checks}
        if "failed" in states.values():
            return "failed"
        return "passed" if states.get("logits") == "passed" else "not run"

    @property
    def failures(self) -> str:
        """The checks that failed, in a line."""
        return "; ".join(f"{check.name}: {check.why}" for check in self.checks if check.status == "failed")

    @property
    def reason(self) -> str:
        """Why it did not pass: the failures, or why nothing was compared."""
        return self.failures or next((check.why for check in self.checks if check.status == "not run"), "")

    def plain(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "format_version": 1,
            "title": self.title,
            "status": self.status,
            "made_by": f"gptsmith {__version__}",
            "sides": [asdict(side) for side in self.sides],
            "checks": [asdict(check) for check in self.checks],
        }

    def figures(self) -> dict[str, Any]:
        """The figures for a person: the status, the reason where it did not pass, and the logits' differences."""
        logits = next((check for check in self.checks if check.name == "logits"), None)
        kept = {} if logits is None else logits.figures
        reason = {"certificate_reason": self.reason} if self.status != "passed" else {}
        return {"certificate": self.status, **reason, **kept}

    def save(self, folder: Path) -> None:
        """Writes certificate.json and certificate.html."""
        write_json(folder / CERTIFICATE, self.plain())
        write_atomically(folder / PAGE, certificate_page(self))


def recorded_figures(folder: Path) -> dict[str, Any]:
    """The figures of the certificate in a folder that was exported; empty if there is none that can be read."""
    try:
        checks = [Check(**check) for check in read_json(folder / CERTIFICATE)["checks"]]
        return Certificate("", (NOBODY, NOBODY), tuple(checks)).figures()
    except (OSError, GptsmithError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def compare(
    title: str,
    names: tuple[str, str],
    one: Backend,
    other: Backend | str,
    *,
    precision: str,
    files: Sequence[Path] = (),
) -> Certificate:
    """Compares two models.

    Args:
        names: the names of the two sides.
        other: the copy, or why no program here reads it.
        precision: the dtype of its weights: a name of `BOUNDS`.
        files: the copy's files, where no reader says them.
    """
    checks: list[Check]
    if isinstance(other, str):
        checks = [Check(name, "not run", why=other) for name in ("tokens", "conversations", "logits", "greedy text")]
    else:
        continued = [_continued(one, ids) for ids in _prompts(one)]
        pairs = [(one.logits(text.ids), other.logits(text.ids)) for text in continued]
        bound = BOUNDS[precision]
        if one.chooses_experts and precision != "float32":
            bound = replace(bound, rerouted_share=REROUTED_SHARE)
        checks = [
            tokens_check(one, other),
            conversations_check(one, other),
            logits_check(pairs, bound),
            greedy_check(continued, pairs, bound),
        ]
        files = other.files
    reader = other if isinstance(other, str) else other.name
    sides = _side(names[0], one.name, one.files), _side(names[1], reader, files)
    return Certificate(title, sides, tuple(checks))


def tokens_check(one: Backend, other: Backend) -> Check:
    """Whether texts have the same ids, special tokens spelt in them included, and the same before them."""
    texts = [*TEXTS, *spelt(one.special_tokens)]
    differences = [text for text in texts if one.token_ids(text) != other.token_ids(text)]
    figures = {"num_texts": len(texts), "num_equal": len(texts) - len(differences)}
    if one.bos_ids() != other.bos_ids():
        why = f"one puts {one.bos_ids()} before every text, the other {other.bos_ids()}"
        return Check("tokens", "failed", figures, why=why)
    if differences:
        text = differences[0]
        why = f"{text!r} is {one.token_ids(text)[:12]} to one and {other.token_ids(text)[:12]} to the other"
        return Check("tokens", "failed", figures, why=why)
    return Check("tokens", "passed", figures)


def conversations_check(one: Backend, other: Backend) -> Check:
    """Whether conversations are formatted alike, with the next turn begun and without, and have the same ids."""
    different, count, refused = [], 0, 0
    for messages in CONVERSATIONS:
        for open_turn in (False, True):
            here, there = (side.conversation(messages, open_turn=open_turn) for side in (one, other))
            if isinstance(here, str) and isinstance(there, str):
                if not here.startswith("refused"):
                    return Check("conversations", "not run", why=here)
                refused += 1
                continue
            count += 1
            if here != there:
                different.append(f"{_shown(here)} to one, {_shown(there)} to the other")
    figures = {"num_conversations": count, "num_equal": count - len(different), "num_refused_by_both": refused}
    if different:
        return Check("conversations", "failed", figures, why=different[0])
    return Check("conversations", "passed", figures)


def logits_check(pairs: Sequence[tuple[Tensor, Tensor]], bound: Bound) -> Check:
    """The distance of logits (T, V)."""
    parts = [_distances(*(_shared_vocabulary(pair, side).double() for side in (0, 1))) for pair in pairs]
    found = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    count, scale = len(found["largest"]), float(found["scale"].max())
    spared = int(bound.rerouted_share * count) if found["largest"].isfinite().all() else 0
    judged = found["largest"].argsort()[: count - spared]
    figures = {
        "num_positions": count,
        "num_judged": len(judged),
        "largest_logit_difference": float(found["largest"][judged].max()),
        "mean_logit_difference": float(found["mean"][judged].mean()),
        "largest_logit": scale,
        "mean_divergence": float(found["divergence"][judged].mean()),
        "top1_agreement": float(found["agreement"].mean()),
    }
    limits = {"mean_divergence": bound.divergence, "largest_logit_difference": bound.largest * max(scale, 1.0)}
    broken = [
        f"{name.replace('_', ' ')} is {figures[name]:.3g}, and at most {limit:.3g} is allowed"
        for name, limit in limits.items()
        if not figures[name] <= limit
    ]
    return Check("logits", "failed" if broken else "passed", figures, limits, "; ".join(broken))


def _distances(here: Tensor, there: Tensor) -> dict[str, Tensor]:
    """Figures (T) of one text: the logits of all texts together would take a gigabyte of a small model."""
    gaps = (here - there).abs()
    logs = [side.log_softmax(dim=-1) for side in (here, there)]
    return {
        "largest": gaps.amax(dim=-1),
        "mean": gaps.mean(dim=-1),
        "scale": here.abs().amax(dim=-1),
        "divergence": (logs[0].exp() * (logs[0] - logs[1])).sum(dim=-1),
        "agreement": (here.argmax(dim=-1) == there.argmax(dim=-1)).double(),
    }


@dataclass(frozen=True)
class Continued:
    """A prompt with the most likely tokens that one side continues with."""

    ids: list[int]
    num_prompt_tokens: int


def greedy_check(continued: Sequence[Continued], pairs: Sequence[tuple[Tensor, Tensor]], bound: Bound) -> Check:
    """Whether the other side would continue with the same most likely tokens. Where the two most likely are nearer to
    each other than logits may be apart, either may come first.

    Args:
        pairs: the logits of both sides after each of the ids.
    """
    num_tokens = num_equal = num_ties = 0
    different: list[str] = []
    for text, (here, there) in zip(continued, pairs, strict=True):
        for place in range(text.num_prompt_tokens, len(text.ids)):
            mine, token, choice = here[place - 1], text.ids[place], int(there[place - 1].argmax())
            num_tokens += 1
            limit = 2 * bound.largest * max(float(mine.abs().max()), 1.0)
            if choice == token:
                num_equal += 1
            elif choice < len(mine) and float(mine[token] - mine[choice]) <= limit:
                num_ties += 1
            else:
                different.append(f"one continues with token {token}, the other with {choice}")
    figures = {"num_tokens": num_tokens, "num_equal": num_equal, "num_ties": num_ties}
    if not num_tokens:
        return Check("greedy text", "not run", figures, why="the prompts fill the context")
    if len(different) > bound.rerouted_share * num_tokens:
        return Check("greedy text", "failed", figures, why=different[0])
    return Check("greedy text", "passed", figures)


def require_passed(certificate: Certificate, what: str) -> None:
    """Checks that nothing failed.

    Raises:
        ConversionError: something did; the message says what.
    """
    if certificate.status == "failed":
        raise ConversionError(f"{what} is not the same model, so it was not kept: {certificate.failures}")


def is_certified_copy(folder: Path, model_files: Sequence[Path]) -> bool:
    """Whether a folder is a whole copy, with a certificate, of the model in these files: each file of both is still
    what the certificate says."""
    try:
        certificate = read_json(folder / CERTIFICATE)
        source, copy = (dict(side["files"]) for side in certificate["sides"])
        is_source = source == {path.name: sha256_of(path) for path in model_files}
        is_copy = all(sha256_of(folder / name) == digest for name, digest in copy.items())
        return certificate["status"] != "failed" and bool(copy) and is_source and is_copy
    except (GptsmithError, OSError, LookupError, TypeError, ValueError):
        return False


def _prompts(reader: Backend) -> list[list[int]]:
    """Ids to compare logits after; half of the context at most, so that there is room to continue."""
    room = max(1, min(MAX_PROMPT_TOKENS, reader.context_length // 2))
    found = [[*reader.bos_ids(), *reader.token_ids(text)][:room] for text in PROMPTS]
    return [ids for ids in found if ids]


def _continued(reader: Backend, prompt: Sequence[int]) -> Continued:
    room = min(GREEDY_TOKENS, reader.context_length - len(prompt))
    return Continued([*prompt, *reader.greedy(prompt, room)], len(prompt))


def _shared_vocabulary(pair: tuple[Tensor, Tensor], side: int) -> Tensor:
    """The logits of the tokens that both have; some programs fill up to a multiple."""
    return pair[side][:, : min(tensor.shape[1] for tensor in pair)]


def _side(name: str, reader: str, files: Sequence[Path]) -> Side:
    return Side(name, reader, sum(f.stat().st_size for f in files), {f.name: sha256_of(f) for f in files})


def _shown(rendered: Rendered | str) -> str:
    return rendered if isinstance(rendered, str) else f"{rendered.text!r} with ids {rendered.ids[:8]}..."


VERDICTS = {
    "passed": "The copy is the same model, within the precision that it is kept in.",
    "failed": "The copy is not the same model.",
    "not run": "No program here reads the copy, so its logits were not compared.",
}
MARKS = {"passed": "✓", "failed": "✗", "not run": "-"}
QUESTIONS = {
    "tokens": "Do texts have the same tokens?",
    "conversations": "Are conversations formatted alike?",
    "logits": "Do both find the same tokens probable?",
    "greedy text": "Do both write the same text?",
}


def certificate_page(certificate: Certificate) -> str:
    """A certificate as an HTML page that opens offline."""
    header = element(
        "header", element("h1", certificate.title), element("p", VERDICTS[certificate.status], class_="soft")
    )
    checks = [
        section(
            f"{MARKS[check.status]} {QUESTIONS.get(check.name, check.name)}",
            element("p", f"{check.status}{': ' + check.why if check.why else ''}"),
            *(
                [table([(label_of(name), _number(value)) for name, value in check.figures.items()])]
                if check.figures
                else []
            ),
            *([element("p", _allowed(check.bound), class_="soft")] if check.bound else []),
            name=check.name.replace(" ", "-"),
        )
        for check in certificate.checks
    ]
    sides = [
        section(
            side.name,
            element("p", f"read by {side.reader}; {readable_bytes(side.num_bytes)} in {len(side.files)} files"),
            element("details", element("summary", "SHA-256 of each file"), table(list(side.files.items()))),
            name=f"side-{number}",
        )
        for number, side in enumerate(certificate.sides, 1)
    ]
    return page(certificate.title, [header, *checks, *sides])


def _allowed(bound: Mapping[str, Any]) -> Html | str:
    return "allowed: " + ", ".join(f"{label_of(name)} up to {_number(limit)}" for name, limit in bound.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else str(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
