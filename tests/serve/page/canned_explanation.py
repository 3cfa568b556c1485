"""What a server may say of a word: every section, with every verdict, in the form of the routes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .chat_page import ChatPage

TEST = {
    "how": "removed", "num_removed": 1, "change": 2.31, "random_mean": 0.2, "random_interval": [-0.1, 0.6],
    "num_random": 20, "p_value": 0.048,
}  # fmt: skip


def explanation(prompt: str, words: str = " sword", other: str = " plough", part: str = "blocks.1") -> dict[str, Any]:
    """An explanation of a word by the words of `prompt` and by parts of a network."""
    starts = [at for at, sign in enumerate(prompt) if at == 0 or prompt[at - 1] == " "]
    units = [(start, stop) for start, stop in zip(starts, [*starts[1:], len(prompt)], strict=True)]
    target = {"token": 7, "text": words, "probability": 0.31, "rank": 1}
    against = {"token": 9, "text": other, "probability": 0.12, "rank": 2}
    items = [
        {"start": start, "stop": stop, "text": prompt[start:stop], "change": 2.31 - 1.3 * number, "message": 0}
        for number, (start, stop) in enumerate(units)
    ]
    claims = [
        claim("alternatives", "", [{"text": words, "change": -1.17}, {"text": other, "change": -2.12}]),
        claim(
            "leave_one_out",
            f"“{prompt.split()[0]}” made it write “{words}”, not “{other}”.",
            items,
            TEST,
            "holds",
            0.12,
        ),
        claim(
            "logit_lens",
            "It was decided in block 2 of 2.",
            [
                {"part": "embedding", "text": "\n", "change": -3.0},
                {"part": f"{part}.output", "text": words, "change": 0.9},
            ],
        ),
        claim(
            "direct_logit_attribution",
            "The last block is associated with most of the difference.",
            [
                {"part": "embedding", "text": "the words themselves", "change": -0.41},
                {"part": f"{part}.attention.heads.1", "text": "head 1 of block 1", "change": 0.83},
                {"part": f"{part}.feedforward.output", "text": "the feed-forward half of block 1", "change": 0.53},
            ],
            {**TEST, "change": 0.1},
            "no better than chance",
            -0.0002,
        ),
    ]
    identity = {"identity": "sum", "says": "all parts sum to the difference", "error": 3e-6, "bound": 1e-4, "why": ""}
    checks = [{**identity, "holds": True}, {**identity, "error": None, "why": "not of this model", "holds": True}]
    said = {"run": "chat", "step": 8, "target": target, "against": against, "difference": 0.95, "seconds": 1.2}
    return {**said, "claims": claims, "sources": [], "checks": checks}


def claim(
    kind: str,
    says: str,
    items: list[dict[str, Any]],
    test: dict[str, Any] | None = None,
    verdict: str = "not tested",
    rest: float | None = None,
) -> dict[str, Any]:
    """A claim in JSON."""
    return {"kind": kind, "says": says, "items": items, "test": test, "verdict": verdict, "rest": rest}


def sources(file: str = "part0.txt", passage: str = "smith forges a sword") -> dict[str, Any]:
    """One passage that the words stand in."""
    found = {
        "text_start": 0, "text_stop": 500, "text": passage, "num_tokens": 14, "num_copies": 3, "held_out_share": 0.003,
        "run": "base", "file": file, "where": None, "sha256": "0" * 64, "state": "unchanged", "start": 8, "stop": 28,
        "line": 12, "before": "The old ", "passage": passage, "after": " of iron.", "document": 0,
        "place": 3, "other_sources": [],
    }  # fmt: skip
    return {"sources": [found], "missing": [], "forgotten": {"says": "It makes a difference: 9.3 times less probable."}}


def can(chat: ChatPage, found: dict[str, Any], traced: dict[str, Any]) -> list[dict[str, Any]]:
    """Answers the page from here; gives the bodies that it sends, as they come."""
    sent: list[dict[str, Any]] = []

    def explain(route: Any) -> None:
        body = json.loads(route.request.post_data)
        sent.append(body)
        kinds = {*body["methods"]}
        claims = [claim for claim in found["claims"] if claim["kind"] in kinds]
        answer = {
            **found,
            "claims": claims,
            "rewritten": "The smith forges a plough." if body.get("switch_off") else None,
        }
        events = (
            f'event: progress\ndata: {{"done": 1, "total": 2}}\n\nevent: explanation\ndata: {json.dumps(answer)}\n\n'
        )
        route.fulfill(status=200, content_type="text/event-stream", body=events)

    def trace(route: Any) -> None:
        sent.append(json.loads(route.request.post_data))
        route.fulfill(status=200, content_type="application/json", body=json.dumps(traced))

    answers: dict[str, Callable[[Any], None]] = {"**/v1/explain": explain, "**/v1/trace": trace}
    for address, answer in answers.items():
        chat.page.route(address, answer)
    return sent
