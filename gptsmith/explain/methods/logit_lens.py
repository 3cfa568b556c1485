"""What the model would have answered after each block: the final norm and the head read the residual stream early
(nostalgebraist 2020, the logit lens). Early blocks were not trained to be read so."""

from __future__ import annotations

from typing import ClassVar, Literal

from gptsmith.explain.claim import Claim, Item
from gptsmith.explain.lens import decided_after, lens_logits
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.question import Question, quoted


class LogitLensSettings(MethodSettings):
    """The difference, and the most probable token, read from the residual stream before the first block and after each
    one."""

    is_tested: ClassVar[bool] = False

    kind: Literal["logit_lens"] = "logit_lens"

    def explain(self, question: Question) -> list[Claim]:
        logits = lens_logits(question)
        differences = logits[:, question.target] - logits[:, question.against]
        depth = decided_after(differences)
        names = ["blocks.0.input", *(f"blocks.{layer}.output" for layer in range(len(logits) - 1))]
        items = [
            Item(question.text_of(int(row.argmax())), float(change), part=name, is_named=number == depth)
            for number, (name, row, change) in enumerate(zip(names, logits, differences, strict=True))
        ]
        wins = differences[-1] > 0
        return [Claim(self.kind, _says(question, bool(wins), depth, len(logits) - 1), items, rest=0.0)]


def _says(question: Question, wins: bool, depth: int, num_blocks: int) -> str:
    """The depth, for people; the target `wins` if it is the more probable in the end."""
    tokens = (question.target, question.against) if wins else (question.against, question.target)
    winner, loser = (quoted(question.text_of(token)) for token in tokens)
    where = "before the first block" if depth == 0 else f"after {depth} of {num_blocks} blocks"
    return (
        f"Read early, the network is for {winner} rather than {loser} from {where} on. Early blocks were not made to "
        "be read so."
    )
