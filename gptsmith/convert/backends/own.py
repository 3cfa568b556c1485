"""A model as this program reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.convert.backends import Backend, Rendered
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.gpt import GPT
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
        self.chooses_experts = model.config.feedforward.chooses_experts

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

    def greedy(self, ids: Sequence[int], num_tokens: int) -> list[int]:
        # What the weights say, as `logits` does: nothing is quantized on the way.
        engine = Engine(self.model, settings=EngineSettings(max_num_seqs=1), int8_matmul=False)
        chunks = engine.stream(Request(ids, num_tokens, SamplingSettings(temperature=0)))
        return [token.id for chunk in chunks for token in chunk.tokens]

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        logits: Tensor = self.model(torch.tensor([list(ids)], device=self.model.device))[0]
        return logits.float().cpu()
