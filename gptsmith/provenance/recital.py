"""The recital guard of a model: built on every text that it learnt from."""

from __future__ import annotations

from gptsmith.base.errors import UserError
from gptsmith.convert.open import OpenedModel
from gptsmith.data.suffix_array import SuffixArray
from gptsmith.generate.recital_guard import RecitalGuard, Spelling, as_it_stands
from gptsmith.provenance.learned_texts import learned_texts
from gptsmith.text.letters import next_letters


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
    tokenizer = run.tokenizer()
    num_documents = sum(len(text.ends) for text in learned.texts)
    total_tokens = max(1, sum(len(text.array) for text in learned.texts) - num_documents)

    def guard(arrays: list[SuffixArray], spelling: Spelling, also: RecitalGuard | None) -> RecitalGuard:
        bytes_per_token = (sum(map(len, arrays)) - num_documents) / total_tokens
        return RecitalGuard(
            arrays, tokenizer.token_bytes, num_tokens=num_tokens, num_bytes=round(num_tokens * bytes_per_token),
            end_ids=tokenizer.end_ids, spelling=spelling, also=also,
        )  # fmt: skip

    loose = guard([text.letter_array for text in learned.texts], next_letters, None)
    return guard([text.byte_array for text in learned.texts], as_it_stands, loose)
