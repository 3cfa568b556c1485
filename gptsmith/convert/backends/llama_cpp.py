"""A model as llama.cpp reads it, from a GGUF file."""

from __future__ import annotations

import unicodedata
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import torch
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from torch import Tensor

from gptsmith.base.errors import ConversionError
from gptsmith.convert.backends import Backend, Rendered
from gptsmith.convert.certificate import GREEDY_TOKENS, MAX_PROMPT_TOKENS
from gptsmith.convert.gguf_vocabulary import COMPOSES

ERROR = 4
_errors: list[str] = []


def _keep_errors(level: int, text: bytes, _: Any) -> None:
    if level == ERROR:
        _errors.append(text.decode("utf-8", "replace").strip())


CALLBACK: Any = llama_cpp.llama_log_callback(_keep_errors)


class LlamaCppBackend(Backend):
    """`llama_cpp.Llama`, on the CPU. Importing this module asks for the library."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConversionError: llama.cpp does not read the file.
        """
        llama_cpp.llama_log_set(CALLBACK, None)
        _errors.clear()
        try:
            self.llama: Any = llama_cpp.Llama(
                str(path),
                n_ctx=MAX_PROMPT_TOKENS + GREEDY_TOKENS,
                n_threads=torch.get_num_threads(),
                n_threads_batch=torch.get_num_threads(),
                logits_all=True,
                # What is remembered is rounded by whoever runs the model, not by the file.
                type_k=llama_cpp.GGML_TYPE_F32,
                type_v=llama_cpp.GGML_TYPE_F32,
                # The library has figures of its own for these; below zero is what the file says.
                yarn_attn_factor=-1.0,
                yarn_beta_fast=-1.0,
                yarn_beta_slow=-1.0,
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"llama.cpp does not read {path.name}: {(_errors or [str(error)])[0]}") from None
        # Left to the interpreter's end, its library would be gone before it is closed.
        weakref.finalize(self, self.llama.close)
        self.name, self.files = f"llama.cpp (llama-cpp-python {llama_cpp.__version__})", [path]
        self.composes = self.llama.metadata.get(COMPOSES) == "true"
        if self.composes:
            self.name += ", given composed characters (NFC), which it leaves to whoever calls it"
        self.context_length = self.llama._model.n_ctx_train()
        self.special_tokens = self._special_tokens()

    def token_ids(self, text: str) -> list[int]:
        return self._ids(text) if text else []

    def bos_ids(self) -> list[int]:
        plain, whole = (self.llama.tokenize(b"a", add_bos=add_bos) for add_bos in (False, True))
        return list(whole[: len(whole) - len(plain)])

    def conversation(self, messages: Sequence[Mapping[str, str]], *, open_turn: bool) -> Rendered | str:
        template = self.llama.metadata.get("tokenizer.chat_template")
        if not template:
            return "there is no chat template"
        bos, eos = (self._spelling(token) for token in (self.llama.token_bos(), self.llama.token_eos()))
        formatter = Jinja2ChatFormatter(template, eos_token=eos, bos_token=bos, add_generation_prompt=open_turn)
        turns: Any = [dict(message) for message in messages]
        try:
            text = formatter(messages=turns).prompt
        except Exception as error:  # templates raise what they like
            return f"refused: {error}"
        return Rendered(text, self._ids(text, special=True))

    def logits(self, ids: Sequence[int]) -> Tensor:
        self.llama.reset()
        self.llama.eval(list(ids))
        return torch.from_numpy(self.llama.scores[: len(ids)].copy())

    def _ids(self, text: str, *, special: bool = False) -> list[int]:
        text = unicodedata.normalize("NFC", text) if self.composes else text
        return list(self.llama.tokenize(text.encode(), add_bos=False, special=special))

    def _spelling(self, token: int) -> str:
        return "" if token < 0 else str(self.llama._model.token_get_text(token))

    def _special_tokens(self) -> list[str]:
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        vocab = self.llama._model.vocab
        return [
            self._spelling(token)
            for token in range(self.llama.n_vocab())
            if llama_cpp.llama_vocab_get_attr(vocab, token) & control
        ]
