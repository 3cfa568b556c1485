"""POST /api/chat and /api/generate: the jobs of OpenAI's API, with answers in Ollama's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import Request
from gptsmith.serve.errors import unsupported
from gptsmith.serve.ollama.answers import AnswerForm, AnswerLines
from gptsmith.serve.ollama.keep_alive import keep_alive_s
from gptsmith.serve.ollama.models import known_name
from gptsmith.serve.ollama.request_mapping import (
    chat_messages,
    chat_request,
    parsed_format,
    refuse_images,
    sampling_fields,
)
from gptsmith.serve.ollama.schemas import OllamaChatRequest, OllamaGenerateRequest, OllamaGenerationFields
from gptsmith.serve.openai.answer import Words
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.completions import CompletionJob
from gptsmith.serve.openai.generation import ChunkEvents, generate_response
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.completions import CompletionRequest
from gptsmith.serve.openai.streaming import SequenceOutput
from gptsmith.serve.openai.structured_output import response_format_constraint
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State

UNSUPPORTED = {
    "template": "the model's own template is used: leave it out, or send the whole prompt with raw",
    "suffix": "models here only continue a text",
    "context": "send the conversation to /api/chat",
    "width": "models here write text only",
    "height": "models here write text only",
    "steps": "models here write text only",
}
NEEDS_TEMPLATE = "it needs a model with a chat template, and no raw"


async def chat(state: State, body: OllamaChatRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation.

    Raises:
        ApiError: it cannot be given.
    """
    form = AnswerForm(body.model, is_chat=True)
    if not body.messages:
        return await load_or_unload(state, body, form)
    served = await state.models.writer(known_name(state, body.model), keep_alive_s(body.keep_alive))
    served.template()
    request = chat_request(body, chat_messages(body.messages), body.tools or ())
    return await generate_response(state, OllamaChatJob(request, served, form), log_fields)


async def generate(state: State, body: OllamaGenerateRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a prompt; of a base model, and with `raw`, its continuation.

    Raises:
        ApiError: it cannot be given.
    """
    for name, reason in UNSUPPORTED.items():
        if getattr(body, name):
            raise unsupported(name, reason)
    refuse_images("images", body.images)
    form = AnswerForm(body.model, is_chat=False)
    if not body.prompt:
        return await load_or_unload(state, body, form)
    served = await state.models.writer(known_name(state, body.model), keep_alive_s(body.keep_alive))
    if served.loaded.template is None or body.raw:
        return await generate_response(state, OllamaRawJob(body, served, form), log_fields)
    system = [{"role": "system", "content": body.system}] if body.system else []
    request = chat_request(body, [*system, {"role": "user", "content": body.prompt}])
    return await generate_response(state, OllamaChatJob(request, served, form), log_fields)


async def load_or_unload(state: State, body: OllamaGenerationFields, form: AnswerForm) -> Response:
    """The answer to a request without a prompt: the model is loaded, or with `keep_alive: 0` unloaded.

    Raises:
        ApiError: there is no such model, or it cannot be loaded.
    """
    name, keep_s = known_name(state, body.model), keep_alive_s(body.keep_alive)
    if keep_s != 0:
        await state.models.writer(name, keep_s)
        return JSONResponse(form.done("load"))
    state.models.unload(await state.models.entry(name))
    return JSONResponse(form.done("unload"))


class OllamaChatJob(ChatCompletionJob):
    """A request for an answer by the chat template."""

    def __init__(self, request: ChatCompletionRequest, served: ServedModel, form: AnswerForm) -> None:
        super().__init__(request, served)
        self.form = form

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        (output,) = outputs
        return self.form.line(self.parts(output), **self.form.end(output.finish_reason, usage, self.group))

    def chunk_events(self) -> ChunkEvents:
        return AnswerLines(self.form, self.parser(), self.group)


class OllamaRawJob(CompletionJob):
    """A request for the continuation of a text."""

    def __init__(self, body: OllamaGenerateRequest, served: ServedModel, form: AnswerForm) -> None:
        """
        Raises:
            ApiError: a field needs a chat template.
        """
        for name in ("system", "think"):
            if getattr(body, name):
                raise unsupported(name, NEEDS_TEMPLATE)
        most = served.settings.max_tokens
        longest = served.context_length if most is None else min(most, served.context_length)
        fields = {"max_tokens": longest, **sampling_fields(body), "prompt": body.prompt}
        super().__init__(CompletionRequest.model_validate(fields), served)
        self.form = form
        self.constraint = response_format_constraint(parsed_format(body))

    def requests(self) -> list[Request]:
        return [replace(request, constraint=self.constraint) for request in super().requests()]

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        (output,) = outputs
        return self.form.line([Words(output.text)], **self.form.end(output.finish_reason, usage, self.group))

    def chunk_events(self) -> ChunkEvents:
        return AnswerLines(self.form, None, self.group)
