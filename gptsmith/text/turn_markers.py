"""The words by which a chat template tells turns apart, where they are spelt in text and not by special tokens."""

from __future__ import annotations

import re

from gptsmith.base.errors import DataError
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.masking import special_pattern
from gptsmith.text.tokenizer import Tokenizer

PROBED = ("q7f3", "a9k2", "q5m8")
"""Contents that no template has words like."""
LEAST_CHARACTERS = 3


def turn_markers(template: ChatTemplate, tokenizer: Tokenizer) -> frozenset[str]:
    """The words beside what people and the model write, such as `[/INST]` of Llama 2 and `USER:` of Vicuna; none of a
    template that has special tokens there, or does not take a conversation of three turns."""
    roles = ("user", "assistant", "user")
    talk = [{"role": role, "content": content} for role, content in zip(roles, PROBED, strict=True)]
    try:
        text = template.render(talk, tokenizer=tokenizer, open_turn=True)
    except DataError:
        return frozenset()
    special = special_pattern(tokenizer)
    found: set[str] = set()
    for between in re.split("|".join(PROBED), text):
        words = (special.sub(" ", between) if tokenizer.special_tokens else between).split()
        found |= {*words[:1], *words[-1:]}
    return frozenset(word for word in found if len(word) >= LEAST_CHARACTERS and not word.isalnum())
