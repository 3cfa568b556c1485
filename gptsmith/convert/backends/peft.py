"""A model as PEFT reads it: an adapter's folder applied to the base as Transformers reads that."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from gptsmith.convert.backends.transformers import TransformersBackend, quiet


class PeftBackend(TransformersBackend):
    """`PeftModel` over `AutoModelForCausalLM`."""

    def __init__(self, folder: Path, base: Path) -> None:
        """
        Raises:
            ImportError: PEFT or Transformers is not installed.
        """
        super().__init__(base)
        with quiet(), warnings.catch_warnings():
            # PEFT warns of what it changes by itself: fan_in_fan_out of a head, or a head that is the embedding.
            warnings.simplefilter("ignore")
            import peft
            import transformers

            wrapper: Any = peft.PeftModel
            self.model = wrapper.from_pretrained(self.model, str(folder)).eval()
            if (folder / "tokenizer.json").exists():
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.special_tokens = list(self.tokenizer.all_special_tokens)
        self.name = f"peft {peft.__version__} over {self.name}"
        self.files = sorted(path for path in folder.iterdir() if path.is_file())


def peft_backend(folder: Path, base: Path) -> PeftBackend | str:
    """PEFT with an adapter open over its base; or why it cannot be read here."""
    try:
        import peft  # noqa: F401  # before a base is read in vain

        return PeftBackend(folder, base)
    except ImportError:
        return "PEFT and Transformers are not both installed here (pip install peft transformers)"
