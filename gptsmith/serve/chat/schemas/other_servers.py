"""Fields that clients of llama.cpp, vLLM, Ollama and others send. A hint changes no text, so that any value is passed
over; a setting that this server does not have is taken with the value that turns it off, and with no other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gptsmith.serve.chat.schemas.common import Effort, Schema

Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[float, Field(ge=1, le=1)]


class HintFields(Schema):
    """Hints about memory, speed and bookkeeping, and settings that are turned off."""

    cache_prompt: Any = None
    id_slot: Any = None
    slot_id: Any = None
    timings_per_token: Any = None
    return_progress: Any = None
    keep_alive: Any = None
    num_ctx: Any = None
    num_keep: Any = None
    num_batch: Any = None
    num_gpu: Any = None
    main_gpu: Any = None
    num_thread: Any = None
    low_vram: Any = None
    use_mmap: Any = None
    use_mlock: Any = None
    numa: Any = None
    priority: Any = None
    request_id: Any = None
    session_id: Any = None
    chat_id: Any = None
    client_metadata: Any = None
    usage: Any = None
    typical_p: One | None = None
    tfs_z: One | None = None
    length_penalty: One | None = None
    min_tokens: Zero | None = None
    mirostat: Zero | None = None
    mirostat_tau: Any = None
    mirostat_eta: Any = None
    xtc_probability: Zero | None = None
    xtc_threshold: Any = None
    dry_multiplier: Zero | None = None
    dry_base: Any = None
    dry_allowed_length: Any = None
    top_a: Zero | None = None
    use_beam_search: Literal[False] | None = None
    early_stopping: Literal[False] | None = None
    include_stop_str_in_output: Literal[False] | None = None
    return_tokens_as_token_ids: Literal[False] | None = None
    skip_special_tokens: Literal[True] | None = None
    spaces_between_special_tokens: bool | None = None
    add_generation_prompt: Literal[True] | None = None


class Thinking(Schema):
    """Whether the model is to think, as Anthropic's clients and GLM's say it."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Any = None


class ChatReasoning(Schema):
    """How much the model is to think, as OpenRouter's clients say it."""

    effort: Effort | None = None
    enabled: bool | None = None
    exclude: Literal[False] | None = None
    max_tokens: Any = None
    summary: Any = None


class ThinkingFields(Schema):
    """Variables of the chat template, and the other ways to ask for thoughts or for none."""

    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    think: bool | None = None
    thinking: Thinking | None = None

    @property
    def wants_thoughts(self) -> bool | None:
        """Whether thoughts are asked for; None if nothing says so."""
        if self.thinking is not None:
            return self.thinking.type != "disabled"
        return self.enable_thinking if self.enable_thinking is not None else self.think
