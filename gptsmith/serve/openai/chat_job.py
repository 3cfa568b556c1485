"""The part that chat completions and responses share: from messages to a prompt, and from text to tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.generate.request import Request
from gptsmith.serve.openai.answer import AnswerParser, Part, whole_answer
from gptsmith.serve.openai.generation import GenerationJob
from gptsmith.serve.openai.messages import chat_prompt, flatten_messages, takes_calls
from gptsmith.serve.openai.reasoning import reasoning_instructions
from gptsmith.serve.openai.request_mapping import engine_request
from gptsmith.serve.openai.schemas.chat import ChatMessage, ResponseFormat
from gptsmith.serve.openai.schemas.common import Effort, GenerationFields, Verbosity
from gptsmith.serve.openai.streaming import SequenceOutput
from gptsmith.serve.openai.structured_output import response_format_constraint
from gptsmith.serve.openai.tools import Toolset
from gptsmith.serve.served_model import ServedModel
from gptsmith.text.context import FittedPrompt
from gptsmith.text.thoughts import opens_thoughts

NO_STORE = "nothing that is sent is stored here: leave it out, or set it to false"
MAX_OPENING_TOKENS = 16
"""More than the end of a prompt needs that opens thoughts."""
NO_MODERATION = "no model here judges what is said: leave it out, and have another program judge what comes back"


class ChatJob(GenerationJob):
    """A request for the answer to a conversation.

    Attributes:
        toolset: the tools that may be called; None if there are none.
        truncates: whether the oldest messages are omitted if the conversation is too long.
        num_omitted_messages: how many were; known once there are requests of the engine.
        is_free: whether the text may be any text, thoughts included.
        with_calls: whether the chat template writes the tools and the calls of them; they are text if it does not.
        begins_in_thoughts: whether the prompt has opened thoughts; known once there are requests of the engine.
    """

    def __init__(
        self,
        body: GenerationFields,
        served: ServedModel,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int,
        seed: int,
        toolset: Toolset | None,
        response_format: ResponseFormat | None,
        effort: Effort | None,
        variables: Mapping[str, Any],
        verbosity: Verbosity | None,
        top_logprobs: int | None,
        truncates: bool,
        num_sequences: int = 1,
        continues_last: bool = False,
    ) -> None:
        """
        Raises:
            ApiError: the model was not tuned on conversations, or the response format is not allowed.
        """
        super().__init__(body, served)
        template = served.template()
        self.messages, self.max_tokens, self.seed, self.toolset = messages, max_tokens, seed, toolset
        self.num_sequences = self.sequences_per_prompt = num_sequences
        self.top_logprobs, self.truncates, self.continues_last = top_logprobs, truncates, continues_last
        self.constraint = (
            response_format_constraint(response_format) if toolset is None else toolset.constraint(response_format)
        )
        is_plain = response_format is None or response_format.type == "text"
        self.is_free = is_plain and not (toolset is not None and toolset.is_required)
        self.begins_in_thoughts = False
        self.instructions = reasoning_instructions(effort, verbosity, template)
        self.with_calls = takes_calls(template, messages) and not (toolset is not None and toolset.has_custom)
        if toolset is not None and not self.with_calls:
            self.instructions.append(toolset.introduction())
        self.variables = variables
        self.num_omitted_messages = 0

    def prompt(self, *, must_fit: bool = True) -> FittedPrompt:
        """The prompt; unless it `must_fit`, also one that is longer than the context.

        Raises:
            ApiError: the conversation cannot be read.
            TooManyTokensError: it must fit, and does not.
        """
        flat = flatten_messages(self.messages, self.instructions, with_calls=self.with_calls)
        prompt = chat_prompt(
            self.served,
            flat,
            self.variables,
            tools=self.toolset.described() if self.with_calls and self.toolset is not None else (),
            continues_last=self.continues_last,
            max_tokens=self.max_tokens if self.truncates else None,
            must_fit=must_fit,
        )
        if self.is_free:
            end = self.served.tokenizer.decode(prompt.token_ids[-MAX_OPENING_TOKENS:], keep_special=True)
            self.begins_in_thoughts = opens_thoughts(flat[-1]["content"] if self.continues_last else end)
        self.num_omitted_messages = prompt.num_omitted
        return prompt

    def requests(self) -> list[Request]:
        prompt = self.prompt()
        return [
            engine_request(
                self.fields, self.served, prompt.token_ids, max_tokens=self.max_tokens, seed=self.seed, choice=choice,
                top_logprobs=self.top_logprobs, constraint=self.constraint,
            )
            for choice in range(self.num_sequences)
        ]  # fmt: skip

    def parser(self) -> AnswerParser:
        """A parser of one of the sequences."""
        return AnswerParser(self.toolset, begins_in_thoughts=self.begins_in_thoughts)

    def parts(self, output: SequenceOutput) -> list[Part]:
        """The parts of a sequence that has ended."""
        return whole_answer(self.parser(), output.text, is_cut=output.finish_reason != "stop")
