"""A smaller run that guesses ahead changes how fast a text comes, and not the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.convert.load import load
from gptsmith.serve.load import load_served
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.settings import ServeSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

from .conftest import QUESTION, Served, serving

ASKED: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 1.0, "seed": 5}, {"temperature": 1.5, "seed": 6}]


def texts(running: Served) -> list[str | None]:
    """What is written to requests of each kind, whole and in streams."""
    client, found = running.client(), []
    for asked in ASKED:
        found.append(client.completions.create(model="base", prompt="The old", max_tokens=40, **asked).choices[0].text)
        stream = client.completions.create(model="base", prompt="The old", max_tokens=40, stream=True, **asked)
        found.append("".join(chunk.choices[0].text for chunk in stream))
        chat: Any = {"model": "chat", "messages": QUESTION, "max_tokens": 40, "logprobs": True, **asked}
        found.append(client.chat.completions.create(**chat).choices[0].message.content)
    return found


@pytest.fixture(scope="module")
def plain_texts(served: Served) -> list[str | None]:
    return texts(served)


@pytest.mark.parametrize("draft", ["base", "adapted"])
def test_texts_are_the_same_with_a_draft(plain_texts: list[str | None], runs: Path, draft: str) -> None:
    with serving([str(runs / "base"), str(runs / "chat")], draft=str(runs / draft)) as running:
        assert texts(running) == plain_texts
        figures = running.state.models.loaded["base"].engine.figures()
        assert figures.num_proposed_tokens > figures.num_accepted_tokens > 0


def test_a_draft_of_other_words_is_refused(runs: Path) -> None:
    draft = load(runs / "base", device="cpu")
    draft.tokenizer = BytesTokenizerSettings().train(list, 0)
    with pytest.raises(UserError, match=r"--draft .*base has another tokenizer than chat"):
        ServedModels(load_served([str(runs / "chat")], device="cpu"), ServeSettings(), draft)
