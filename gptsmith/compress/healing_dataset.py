"""The text that a smaller model is healed on, with the original as the teacher."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from torch import Tensor

from gptsmith.compress.difference import counted_states, difference
from gptsmith.compress.material import COMPARED_TOKENS, Material
from gptsmith.data.prepare import PreparedData
from gptsmith.model.device import choose_dtype
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.datasets.base import Score
from gptsmith.train.datasets.distillation import DistillationDataset
from gptsmith.train.datasets.text import WINDOW_TOKENS, TextDataset

SEED = 1


class HealingDataset(DistillationDataset):
    """Windows of the training text, with the original's hidden states. The validation loss is the Kullback-Leibler
    divergence from the original on the text that the smaller model is judged by."""

    def __init__(self, data: PreparedData, material: Material) -> None:
        original = material.original
        teacher = copy(original)  # of the same weights, with a dtype of its own
        teacher.compute_dtype = choose_dtype("auto", original.device)
        length = min(original.config.context_length, WINDOW_TOKENS)
        super().__init__(TextDataset(data, length, SEED, tokenizer_is_fixed=True), teacher)
        self.material = material
        self.num_validation_tokens = min(len(material.validation), COMPARED_TOKENS)
        self._original_states: dict[int, list[Tensor]] = {}
        """The original's last hidden states on so many tokens: it stays as it is, and is asked in each evaluation."""

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        wanted = min(max_tokens or self.num_validation_tokens, self.num_validation_tokens)
        dtype, model.compute_dtype = model.compute_dtype, None
        try:
            windows = list(self.material.validation_windows(wanted))
            if wanted not in self._original_states:
                self._original_states[wanted] = counted_states(self.material.original, windows)
            gap = difference(self.material.original, model, windows, self._original_states[wanted])
        finally:
            model.compute_dtype = dtype
        observe(gap.num_tokens)
        figures = {"validation_loss": gap.kl_divergence, "top1_agreement": gap.top1_agreement}
        return Score(figures, gap.num_tokens, wanted == self.num_validation_tokens)
