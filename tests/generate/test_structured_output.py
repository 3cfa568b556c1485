"""A text of a required form ends where it may, by each of the tokens that end a model's texts."""

from __future__ import annotations

import pytest

from gptsmith.generate.request import Constraint
from gptsmith.generate.structured_output import GrammarCompiler
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return KINDS.validate("bytes").train(list, 0)


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint("regex", "ab(c)?"),
        Constraint("grammar", 'start: "ab" ["c"]'),
        Constraint("grammar", "start: @part", {"part": Constraint("regex", "ab(c)?")}),
    ],
)
def test_a_form_allows_every_end_token_where_the_text_may_end(tokenizer: Tokenizer, constraint: Constraint) -> None:
    ends = sorted(tokenizer.end_ids)
    assert len(ends) == 2
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size)
    for end in ends:
        grammar = compiler.compile(constraint)
        assert not grammar.allowed_tokens()[ends].any()
        for token in tokenizer.encode("ab"):
            grammar.accept(token)
        assert grammar.allowed_tokens()[ends].all()
        grammar.accept(end)
        assert grammar.is_complete
