"""One sequence of an engine: its tokens, how many of them the KV cache holds, and the output not yet delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gptsmith.generate.detokenizer import Detokenizer
from gptsmith.generate.kv_cache import BlockTable
from gptsmith.generate.recital_guard import RecitalFollower
from gptsmith.generate.request import FinishReason, OutputChunk, Request, RequestHandle, TokenLogprob
from gptsmith.generate.structured_output import Grammar
from gptsmith.text.channels import ChannelReader

Deliver = Callable[[OutputChunk], None]


@dataclass(eq=False)
class SequenceState:
    """A sequence that waits or runs.

    Attributes:
        context_length: the most tokens that the model reads.
        end_ids: tokens that end it and are not part of it.
        deliver: called with its chunks.
        recital: bars tokens that would recite a training text; None if they may.
        channels: turns the messages of a model that has channels into tags; None for all others.
        ids: the tokens in the context: the prompt's and the output's, or the newest of them if it slides.
        output_ids: all generated tokens.
        table: its blocks of the KV cache, while it runs.
        num_computed: how many of `ids` the KV cache holds.
        is_preempted: whether it has run, and waits again because others needed its memory.
    """

    request: Request
    context_length: int
    end_ids: frozenset[int]
    deliver: Deliver
    handle: RequestHandle
    grammar: Grammar | None = None
    recital: RecitalFollower | None = None
    channels: ChannelReader | None = None
    ids: list[int] = field(init=False)
    output_ids: list[int] = field(default_factory=list)
    table: BlockTable = field(init=False)
    num_computed: int = 0
    is_preempted: bool = False

    def __post_init__(self) -> None:
        request = self.request
        self.ids = list(request.prompt_ids[-self.context_length :] if request.slide else request.prompt_ids)
        self.prompt_logprobs: list[TokenLogprob] = []
        self.prompt_recital: RecitalFollower | None = None
        self._detokenizer = Detokenizer(request.stop)
        self._text = ""
        self._tokens: list[TokenLogprob] = []
        self._end_id: int | None = None

    @property
    def is_decoding(self) -> bool:
        """Whether the KV cache holds all but the last token, which was generated."""
        return self.num_computed == len(self.ids) - 1 and len(self.output_ids) > 0

    @property
    def max_length(self) -> int:
        """The most tokens that it ever has in the context."""
        if self.request.slide:
            return self.context_length
        return min(len(self.request.prompt_ids) + self.request.max_tokens, self.context_length)

    def preempt(self) -> None:
        """Makes it wait again; its tokens are read anew when there is room."""
        self.num_computed, self.is_preempted = 0, True
        if not self.output_ids:
            self.prompt_logprobs = []

    def accept(self, logprob: TokenLogprob, data: bytes) -> FinishReason | None:
        """Appends a sampled token, whose text is `data`. Returns why the sequence ends there, or None."""
        token = logprob.id
        if self.grammar is not None:
            self.grammar.accept(token)
        if self.recital is not None:
            self.recital.accept(token)
        if token in self.end_ids:
            self._end_id = token
            if self.channels is not None:
                self._text += self._detokenizer.feed(self.channels.end())
            return "stop"
        self.ids.append(token)
        self.output_ids.append(token)
        self._tokens.append(logprob)
        if self.channels is not None:
            data = self.channels.read(token, data)
        if data:
            self._text += self._detokenizer.feed(data)
        if self._detokenizer.stop_string is not None or (self.grammar is not None and self.grammar.is_complete):
            return "stop"
        if len(self.output_ids) >= self.request.max_tokens:
            return "length"
        if len(self.ids) >= self.context_length and not self.request.slide:
            return "context"
        if len(self.ids) > self.context_length:
            self._slide()
        return None

    def take_chunk(
        self, finish_reason: FinishReason | None = None, failure: BaseException | None = None
    ) -> OutputChunk:
        """The output since the last chunk. The last one has a reason."""
        if finish_reason in ("stop", "length", "context", "content_filter"):
            self._text += self._detokenizer.feed(b"", final=True)
            if self._detokenizer.stop_string is not None:
                finish_reason = "stop"
        chunk = OutputChunk(
            self._text, self._tokens, self.prompt_logprobs, finish_reason,
            self._end_id, self._detokenizer.stop_string if finish_reason else None, failure,
        )  # fmt: skip
        self._text, self._tokens, self.prompt_logprobs = "", [], []
        return chunk

    def _slide(self) -> None:
        """Keeps the newest half of a full context. Positions may be absolute, so it is read anew from position 0."""
        self.ids = self.ids[-max(1, self.context_length // 2) :]
        self.num_computed = 0
