"""The part that chat completions and responses share: from messages to a prompt, and from text to tool calls."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.generate.request import Request
from gptsmith.serve.openai.generation import GenerationJob
from gptsmith.serve.openai.messages import chat_prompt, flatten_messages
from gptsmith.serve.openai.reasoning import reads_thoughts, reasoning_instructions, template_variables
from gptsmith.serve.openai.request_mapping import engine_request
from gptsmith.serve.openai.schemas.chat import ChatMessage, ResponseFormat
from gptsmith.serve.openai.schemas.common import Effort, GenerationFields, Verbosity
from gptsmith.serve.openai.structured_output import response_format_constraint
from gptsmith.serve.openai.tools import ToolCall, Toolset
from gptsmith.serve.served_models import ServedModel

NO_STORE = "nothing that is sent is stored here: leave it out, or set it to false"
NO_MODERATION = "no model here judges what is said: leave it out, and have another program judge what comes back"


class ChatJob(GenerationJob):
    """A request for the answer to a conversation.

    Attributes:
        toolset: the tools that may be called; None if there are none.
        truncates: whether the oldest messages are omitted if the conversation is too long.
        num_omitted_messages: how many were; known once there are requests of the engine.
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
        self.instructions = reasoning_instructions(effort, verbosity, template)
        if toolset is not None:
            self.instructions.append(toolset.introduction())
        self.variables = template_variables(effort)
        self.num_omitted_messages = 0

    def requests(self) -> list[Request]:
        prompt = chat_prompt(
            self.served,
            flatten_messages(self.messages, self.instructions, with_thoughts=reads_thoughts(self.served.template())),
            self.variables,
            continues_last=self.continues_last,
            max_tokens=self.max_tokens if self.truncates else None,
        )
        self.num_omitted_messages = prompt.num_omitted
        return [
            engine_request(
                self.fields, self.served, prompt.token_ids, max_tokens=self.max_tokens, seed=self.seed, choice=choice,
                top_logprobs=self.top_logprobs, constraint=self.constraint,
            )
            for choice in range(self.num_sequences)
        ]  # fmt: skip

    def parse(self, text: str) -> tuple[str | None, list[ToolCall]]:
        """The content of a text, or the tool calls that it consists of."""
        return (text, []) if self.toolset is None else self.toolset.parse(text)
