"""A request for the answer to a conversation, whatever API it came by: from messages to a prompt, and from text to tool
calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gptsmith.generate.request import Request
from gptsmith.retrieval.grounding import Grounding, Searchable, ground
from gptsmith.serve.chat.answer import AnswerParser, Part, whole_answer
from gptsmith.serve.chat.generation import GenerationJob
from gptsmith.serve.chat.messages import chat_prompt, flatten_messages, takes_calls, with_call_ids
from gptsmith.serve.chat.reasoning import reasoning_instructions, template_variables
from gptsmith.serve.chat.request_mapping import check_sampling_fields, engine_request, resolve_max_tokens, resolve_seed
from gptsmith.serve.chat.schemas.chat import ChatMessage, ChatRequest, ResponseFormat
from gptsmith.serve.chat.schemas.common import Effort, GenerationFields, Verbosity
from gptsmith.serve.chat.schemas.other_servers import ChatReasoning
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.chat.structured_output import response_format_constraint
from gptsmith.serve.chat.tools import Toolset
from gptsmith.serve.errors import refused
from gptsmith.serve.served_model import ServedModel
from gptsmith.text.channels import Channels
from gptsmith.text.context import FittedPrompt, max_prompt_tokens
from gptsmith.text.thoughts import opens_thoughts
from gptsmith.text.turn_markers import turn_markers

MAX_OPENING_TOKENS = 16
"""More than the end of a prompt needs that opens thoughts."""


class ChatJob(GenerationJob):
    """A request for the answer to a conversation.

    Attributes:
        toolset: the tools that may be called; None if there are none.
        truncates: whether the oldest messages are omitted if the conversation is too long.
        num_omitted_messages: how many were; known once there are requests of the engine.
        is_free: whether the text may be any text, thoughts included.
        documents: in which its last question is looked up; None if in none.
        grounding: what they hold; known once there are requests of the engine.
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
        uses_documents: bool = True,
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
        self.documents: Searchable | None = served.documents if uses_documents else None
        self.grounding: Grounding | None = None
        self.with_calls = takes_calls(template, messages) and not (toolset is not None and toolset.has_custom)
        form = template.call_form if self.with_calls else None
        if form is not None:
            self.messages = with_call_ids(messages, form)
        if toolset is not None:
            toolset.write_as(form, served.tokenizer.special_tokens)
        self.constraint = (
            response_format_constraint(response_format) if toolset is None else toolset.constraint(response_format)
        )
        is_plain = response_format is None or response_format.type == "text"
        self.is_free = is_plain and not (toolset is not None and toolset.is_required)
        self.channels = Channels.of(served.tokenizer)
        if self.channels is not None and self.is_free and toolset is not None:
            self.constraint = None  # its calls are messages apart, which no grammar of texts describes
        self.begins_in_thoughts = False
        self.instructions = reasoning_instructions(effort, verbosity, template)
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
        # Of a model that has channels, any text of a given form is an answer, and one that goes on is, too.
        is_answer = self.constraint is not None or self.continues_last
        flat = flatten_messages(self.messages, self.instructions, with_calls=self.with_calls)
        encoded = partial(
            chat_prompt,
            self.served,
            variables=self.variables,
            tools=self.toolset.described() if self.with_calls and self.toolset is not None else (),
            header=self.channels.final_header if self.channels is not None and is_answer else (),
        )
        if self.documents is not None:
            begun = flat[-1:] if self.continues_last else []
            grounded, self.grounding = ground(
                self.documents,
                flat[: len(flat) - len(begun)],
                lambda some: len(
                    encoded([*some, *begun], continues_last=self.continues_last, must_fit=False).token_ids
                ),
                max_prompt_tokens(self.served.context_length, self.max_tokens),
                gives_way=self.truncates,
                markers=turn_markers(self.served.template(), self.served.tokenizer),
            )
            flat = grounded + begun
        prompt = encoded(
            flat,
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

    def document_fields(self) -> dict[str, Any]:
        """The field of an answer that shows what documents hold on its question; none without documents."""
        return {} if self.grounding is None else {"documents": self.grounding.fields()}

    def parser(self) -> AnswerParser:
        """A parser of one of the sequences."""
        return AnswerParser(self.toolset, begins_in_thoughts=self.begins_in_thoughts)

    def parts(self, output: SequenceOutput) -> list[Part]:
        """The parts of a sequence that has ended."""
        return whole_answer(self.parser(), output.text, is_cut=output.finish_reason != "stop")


class ChatRequestJob(ChatJob):
    """A request in the common form."""

    prompt_field = "messages"

    def __init__(
        self, body: ChatRequest, served: ServedModel, toolset: Toolset | None, *, max_tokens_field: str = "max_tokens"
    ) -> None:
        """`max_tokens_field` is the one that says how long the answer may be.

        Raises:
            ApiError: the model was not tuned on conversations, or fields are not allowed.
        """
        num_sequences = body.n or 1
        check_sampling_fields(body, served, num_sequences)
        if body.top_logprobs and not body.logprobs:
            raise refused("top_logprobs", "it needs logprobs: set it to true")
        given = getattr(body, max_tokens_field)
        max_tokens = resolve_max_tokens(given, served.context_length, served, max_tokens_field)
        if body.continue_final_message and toolset is not None:
            raise refused("continue_final_message", "it does not go together with tools")
        reasoning = body.reasoning or ChatReasoning()
        effort = body.reasoning_effort or reasoning.effort
        wants_thoughts = reasoning.enabled if body.wants_thoughts is None else body.wants_thoughts
        super().__init__(
            body, served, body.messages,
            max_tokens=max_tokens, num_sequences=num_sequences, seed=resolve_seed(body.seed), toolset=toolset,
            response_format=body.response_format, effort=effort, verbosity=body.verbosity,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            variables=template_variables(effort, wants_thoughts, body.chat_template_kwargs),
            continues_last=bool(body.continue_final_message), uses_documents=body.documents is not False,
            truncates=body.truncation == "auto",
        )  # fmt: skip
