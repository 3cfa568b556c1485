"""Requests of the verbs that use, judge and convert models: options of the command line, and arguments in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import Settings
from gptsmith.base.verbs import PathText, PathTexts

# `Field(...)` marks a required field. Type checkers see a default, which lets it be given by position.


class OnADevice(Settings):
    """A request that computes."""

    device: str = "auto"
    """The device: cpu, cuda or mps; auto takes a GPU if there is one."""


class OfARun(OnADevice):
    """A request that computes with a run."""

    run: PathText = Field(...)
    """A run folder."""


class SamplingOptions(OfARun):
    """How tokens are sampled; what is not given is the model's own."""

    temperature: float | None = None
    """0 = greedy; below 1 more deterministic, above 1 more random. 0.8, or the model's own, if not given."""
    top_k: int | None = None
    """Sample from this many of the most probable tokens only."""
    top_p: float | None = None
    """Sample from the most probable tokens that together have this probability (nucleus sampling)."""
    min_p: float | None = None
    """Sample from tokens that are at least this fraction as probable as the most probable one."""
    repetition_penalty: float | None = None
    """Above 1, tokens of the prompt and of the text so far become less probable."""
    seed: int = 0
    """The same seed and prompt give the same text."""

    def sampling(self) -> dict[str, Any]:
        """The settings of sampling, None if not given."""
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        return {name: getattr(self, name) for name in names}


class GenerateRequest(SamplingOptions):
    """The options of `generate`."""

    prompt: str | None = None
    """The text to continue; - or a pipe reads it from standard input. Without one, a new document starts."""
    prompts: PathText | None = None
    """A .jsonl file with one `prompt` per line; one JSON line is written for each."""
    max_tokens: int = Field(default=200, gt=0)
    """The most tokens to generate."""
    stop: Sequence[str] = Field(default_factory=list)
    """End before this text. May be repeated."""
    slide: bool = False
    """When the context is full, drop its oldest half and continue."""

    @model_validator(mode="after")
    def _has_one_source_of_prompts(self) -> Self:
        if self.prompts is not None and self.prompt is not None:
            raise ConfigurationError("give one prompt, or a file of them by --prompts, not both")
        return self


class ChatRequest(SamplingOptions):
    """The options of `chat`."""

    system: str | None = None
    """The system prompt."""
    max_tokens: int = Field(default=120, gt=0)
    """The most tokens per reply."""


class PredictRequest(OfARun):
    """The arguments of `predict`."""

    run: PathText = Field(...)
    """A classifier's run folder."""
    files: PathTexts = Field(...)
    """Records to label: .jsonl, .csv or .parquet."""


class EvaluateRequest(OfARun):
    """The arguments of `evaluate`."""

    texts: PathTexts = Field(default_factory=list)
    """Text to measure perplexity on; the run's validation split if none is given. With --task, files of examples."""
    task: str | None = None
    """A kind of task: multiple_choice, classification, generated or arithmetic."""
    shots: int | None = Field(default=None, ge=0)
    """Solved examples before each question (few-shot)."""
    limit: int | None = Field(default=None, gt=0)
    """Evaluate only so many examples, sampled by the seed."""
    against: PathText | None = None
    """Another run to evaluate too: a paired test says whether the two differ."""
    lm_eval: str | None = None
    """A task of EleutherAI's lm-eval, which brings its own data."""
    lm_eval_path: PathText | None = None
    """A folder with more tasks for lm-eval, as YAML files."""
    settings: Sequence[str] = Field(default_factory=list)
    """A setting of the task, such as scorer=number. May be repeated."""
    seed: int = 0
    """Decides which examples are sampled, and the bootstrap of intervals and tests."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.lm_eval is not None:
            others = {"a text": self.texts, "--task": self.task, "--against": self.against, "--set": self.settings}
            _refuse("--lm-eval", others)
        elif self.task is None:
            _refuse("a text, without --task,", {"--shots": self.shots, "--limit": self.limit, "--set": self.settings})
        return self


def _refuse(what: str, others: dict[str, Any]) -> None:
    """Checks that nothing else was given.

    Raises:
        ConfigurationError: something was.
    """
    if given := [name for name, value in others.items() if value not in (None, (), [])]:
        raise ConfigurationError(f"{what} does not go together with {' and '.join(given)}: leave one of them out")


class DeriveRequest(OfARun):
    """The arguments of the verbs that make a run of a run."""

    out: PathText | None = None
    """The new run folder; RUN-KIND or RUN-merged if not given."""


class CompressRequest(DeriveRequest):
    """The arguments of `compress`."""

    to: str = Field(...)
    """The kind of compression. int8: weights quantized to 8 bits per row, a quarter of the bytes."""


class MergeRequest(DeriveRequest):
    """The arguments of `merge`."""

    run: PathText = Field(...)
    """The folder of a run with LoRA adapters."""


class ImportModelRequest(Settings):
    """The arguments of `import`."""

    source: PathText = Field(...)
    """A Hugging Face model folder, a folder of PEFT adapters, or a model's name on the Hub."""
    out: PathText | None = None
    """The new run folder; runs/NAME if not given."""
    base: PathText | None = None
    """The base of adapters; the one that they name if not given."""
    revision: str | None = None
    """The version of a model on the Hub."""


class ExportRequest(Settings):
    """The arguments of `export`."""

    run: PathText = Field(...)
    """A run folder."""
    to: str = Field(...)
    """The format: huggingface, gguf, ollama, or peft for adapters alone."""
    out: PathText | None = None
    """The new folder; RUN-FORMAT if not given."""
    precision: str | None = None
    """The precision of the weights: float32, float16, bfloat16 or q8_0."""
    settings: Sequence[str] = Field(default_factory=list)
    """A setting of the format. May be repeated."""


class CertifyRequest(Settings):
    """The arguments of `certify`."""

    one: PathText = Field(...)
    """A run, or a Hugging Face model folder."""
    other: PathText = Field(...)
    """Another, or a GGUF file."""
    precision: str = "float32"
    """The precision within which they must agree: float32, float16, bfloat16 or q8_0."""
    out: PathText | None = None
    """The folder for certificate.json and certificate.html."""


class InfoRequest(Settings):
    """The arguments of `info`."""

    run: PathText | None = None
    """A run folder."""
    preset: str | None = None
    """A preset instead of a run, such as gpt2-xl."""
    settings: Sequence[str] = Field(default_factory=list)
    """A change of the preset, such as model.num_layers=6. May be repeated."""


class RunsRequest(Settings):
    """The arguments of `runs`."""

    folder: PathText = "runs"
    """The folder that holds runs."""


class WatchRequest(Settings):
    """The options of `watch`."""

    runs: PathTexts = Field(default_factory=list)
    """Run folders; all of runs/ if none is given."""
    port: int = 0
    """The port on 127.0.0.1; 0 takes a free one."""
    open: bool = False
    """Open the page in a browser."""
