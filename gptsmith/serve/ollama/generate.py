"""POST /api/chat and /api/generate: answers in Ollama's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import Request
from gptsmith.serve.chat.answer import Words
from gptsmith.serve.chat.chat_job import ChatRequestJob
from gptsmith.serve.chat.generation import ChunkEvents, GenerationJob, generate_response
from gptsmith.serve.chat.request_mapping import (
    check_sampling_fields,
    engine_request,
    resolve_max_tokens,
    resolve_seed,
)
from gptsmith.serve.chat.schemas.chat import ChatRequest
from gptsmith.serve.chat.schemas.common import SamplingFields
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.chat.structured_output import response_format_constraint
from gptsmith.serve.chat.tools import request_toolset
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
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State
from gptsmith.text.context import fit_text, max_prompt_tokens

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


class OllamaChatJob(ChatRequestJob):
    """A request for an answer by the chat template."""

    def __init__(self, request: ChatRequest, served: ServedModel, form: AnswerForm) -> None:
        super().__init__(request, served, request_toolset(request))
        self.form = form
        form.tokenizer = served.tokenizer if request.logprobs else None

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        (output,) = outputs
        return {**self.form.whole(self.parts(output), output, usage, self.group), **self.document_fields()}

    def chunk_events(self) -> ChunkEvents:
        return AnswerLines(self.form, self.parser(), self.group, self.document_fields())


class OllamaRawJob(GenerationJob):
    """A request for the continuation of a text."""

    prompt_field = "prompt"
    num_sequences = sequences_per_prompt = 1

    def __init__(self, body: OllamaGenerateRequest, served: ServedModel, form: AnswerForm) -> None:
        """
        Raises:
            ApiError: a field needs a chat template, or is not allowed.
        """
        for name in ("system", "think"):
            if getattr(body, name):
                raise unsupported(name, NEEDS_TEMPLATE)
        self.sampling = SamplingFields.model_validate(sampling_fields(body))
        super().__init__(self.sampling, served)
        check_sampling_fields(self.sampling, served, 1)
        longest = served.context_length
        self.max_tokens = resolve_max_tokens(self.sampling.max_tokens, longest, served, "options.num_predict")
        self.prompt, self.form = body.prompt or "", form
        self.top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
        form.tokenizer = served.tokenizer if body.logprobs else None
        self.constraint = response_format_constraint(parsed_format(body))

    def requests(self) -> list[Request]:
        truncates, longest = self.sampling.truncation == "auto", self.served.context_length
        prompt_ids = self.served.tokenizer.prompt_ids(self.prompt, None if truncates else longest)
        if truncates:
            prompt_ids = fit_text(prompt_ids, max_prompt_tokens(longest, self.max_tokens)).token_ids
        return [
            engine_request(
                self.sampling, self.served, prompt_ids, max_tokens=self.max_tokens,
                seed=resolve_seed(self.sampling.seed), choice=0, top_logprobs=self.top_logprobs,
                constraint=self.constraint,
            )
        ]  # fmt: skip

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        (output,) = outputs
        return self.form.whole([Words(output.text)], output, usage, self.group)

    def chunk_events(self) -> ChunkEvents:
        return AnswerLines(self.form, None, self.group)
