"""A model as this program reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.convert.backends import Backend, Rendered
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.version import __version__


class OwnBackend(Backend):
    """A model, a tokenizer and a template of ours."""

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, template: ChatTemplate | None, files: Sequence[Path] = ()
    ) -> None:
        self.model, self.tokenizer, self.template = model.eval(), tokenizer, template
        self.name, self.files = f"gptsmith {__version__}", files
        self.context_length = model.config.context_length
        self.special_tokens = list(tokenizer.special_tokens)

    def token_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def bos_ids(self) -> list[int]:
        return list(self.tokenizer.bos_ids)

    def conversation(self, messages: Sequence[Mapping[str, str]], *, open_turn: bool) -> Rendered | str:
        if self.template is None:
            return "there is no chat template"
        try:
            text = self.template.render(messages, tokenizer=self.tokenizer, open_turn=open_turn)
            ids = self.template.rendered_ids(self.tokenizer, messages, open_turn=open_turn)
        except UserError as error:
            return f"refused: {error}"
        return Rendered(text, ids)

    @torch.inference_mode()
    def greedy(self, ids: Sequence[int], num_tokens: int) -> list[int]:
        cache = Cache(self.model.config, 1, len(ids) + num_tokens, device=self.model.device)
        unread, written = list(ids), []
        for _ in range(num_tokens):
            hidden = self.model.hidden(torch.tensor([unread], device=self.model.device), cache=cache)
            unread = [int(self.model.head(hidden[:, -1]).argmax())]
            written += unread
        return written

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        logits: Tensor = self.model(torch.tensor([list(ids)], device=self.model.device))[0]
        return logits.float().cpu()
