"""A model as Transformers reads it, from a folder, without any code that the folder brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.files import read_json
from gptsmith.convert.backends import Backend, Rendered


class TransformersBackend(Backend):
    """`AutoModelForCausalLM` and `AutoTokenizer`."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            ImportError: Transformers is not installed.
        """
        with quiet():
            import transformers

            self.name = f"transformers {transformers.__version__}"
            self.files = sorted(path for path in folder.iterdir() if path.is_file())
            loader: Any = transformers.AutoModelForCausalLM
            self.model = loader.from_pretrained(folder, dtype=torch.float32).eval()
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self.context_length = int(self.model.config.get_text_config().max_position_embeddings)
        self.special_tokens = list(self.tokenizer.all_special_tokens)

    def token_ids(self, text: str) -> list[int]:
        with quiet():
            return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def bos_ids(self) -> list[int]:
        with quiet():
            plain, whole = (self.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        starts = range(len(whole) - len(plain) + 1)
        return list(whole[: next(at for at in starts if whole[at : at + len(plain)] == plain)])

    def conversation(self, messages: Sequence[Mapping[str, str]], *, open_turn: bool) -> Rendered | str:
        if not self.tokenizer.chat_template:
            return "there is no chat template"
        turns = [dict(message) for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_turn)
        except Exception as error:  # templates raise what they like
            return f"refused: {error}"
        return Rendered(text, list(self.tokenizer(text, add_special_tokens=False)["input_ids"]))

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        logits: Tensor = self.model(torch.tensor([list(ids)])).logits[0]
        return logits.float()


def transformers_backend(folder: Path) -> TransformersBackend | str:
    """Transformers with a model folder open; or why it cannot read it here."""
    try:
        import transformers
    except ImportError:
        return "Transformers is not installed here (pip install transformers)"
    model_type = read_json(folder / "config.json")["model_type"]
    if model_type not in transformers.CONFIG_MAPPING:
        return f"Transformers {transformers.__version__} does not know the family {model_type}"
    return TransformersBackend(folder)


@contextmanager
def quiet() -> Iterator[None]:
    """While the block runs, no notes and bars of Transformers, and no network; after it all is as it was before. The
    environment stays untouched: child processes and later imports would have it for good."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as their_logging

    logging: Any = their_logging
    is_offline, verbosity = constants.HF_HUB_OFFLINE, logging.get_verbosity()
    has_bars, has_hub_bars = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    constants.HF_HUB_OFFLINE = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = is_offline
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
        if has_hub_bars:
            enable_progress_bars()
        else:
            disable_progress_bars()
