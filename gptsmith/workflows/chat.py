"""A conversation with a model."""

from __future__ import annotations

from gptsmith.base.verbs import verb
from gptsmith.convert.load import load
from gptsmith.generate.conversation import Conversation
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.settings import EngineSettings
from gptsmith.provenance.recital import recital_guard
from gptsmith.workflows.documents import open_documents
from gptsmith.workflows.requests import ChatRequest


@verb(ChatRequest, "run")
def chat(request: ChatRequest) -> Conversation:
    """Begin a conversation with a model. A base model continues the text instead of answering.

    Returns:
        the conversation: `say(message)` is the reply, `stream(message)` its pieces, `messages` all turns so far, and
        `reset()` begins anew.

    Raises:
        UserError: the model cannot be read, generates no text, or has no place for a system prompt.
    """
    return conversation(request)


def conversation(request: ChatRequest, thread: EngineThread | None = None) -> Conversation:
    """The conversation that is requested, whose replies are computed by `thread` if there is one."""
    loaded = load(request.run, device=request.device, dtype=request.dtype)
    loaded.require_words()
    settings = EngineSettings(engine=request.engine, max_num_seqs=1)
    guard = None if request.no_recital is None else recital_guard(loaded.run, request.no_recital)
    engine = Engine(loaded.model, loaded.tokenizer, settings=settings, recital_guard=guard, thread=thread)
    return Conversation(
        engine, loaded.tokenizer, loaded.template,
        system=request.system, max_tokens=request.max_tokens, sampling=loaded.sampling(request.sampling()),
        seed=request.resolved_seed, documents=open_documents(request.documents),
    )  # fmt: skip
