"""The recital guard of a model: built on every text that it learnt from."""

from __future__ import annotations

from gptsmith.base.errors import UserError
from gptsmith.convert.open import OpenedModel
from gptsmith.generate.recital_guard import RecitalGuard
from gptsmith.provenance.learned_texts import learned_texts


def recital_guard(run: OpenedModel, num_tokens: int) -> RecitalGuard:
    """Bars so many tokens in a row, or as many bytes as they have on average, of the texts of a run and of its bases,
    which are indexed now if they are not yet.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: one of the texts is not here, or there is no memory or room for an index.
    """
    learned = learned_texts(run)
    if learned.missing:
        raise UserError(
            f"--no-recital guards every text that {run.folder} learnt from, and {'; '.join(learned.missing)}: bring it "
            "back, or leave --no-recital out"
        )
    arrays = [text.byte_array for text in learned.texts]
    num_bytes = sum(len(array) - len(text.ends) for array, text in zip(arrays, learned.texts, strict=True))
    total_tokens = sum(len(text.array) - len(text.ends) for text in learned.texts)
    tokenizer = run.tokenizer()
    return RecitalGuard(
        arrays,
        tokenizer.token_bytes,
        num_tokens=num_tokens,
        num_bytes=round(num_tokens * num_bytes / max(total_tokens, 1)),
        end_ids=tokenizer.end_ids,
    )
