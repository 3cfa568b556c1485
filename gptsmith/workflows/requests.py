"""Requests of the verbs that use, explain, evaluate and audit models: options of the command line, and arguments in
Python."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.randomness import drawn_seed
from gptsmith.base.settings import Settings
from gptsmith.base.verbs import Assignments, PathText, PathTexts, Texts
from gptsmith.data.settings import ReadingOptions
from gptsmith.data.sources import Sources
from gptsmith.explain.units import Grain
from gptsmith.generate.settings import EngineName

# `Field(default=...)` marks a required field. Type checkers see a default, which lets it be given by position.


class OnADevice(Settings):
    """A request that computes."""

    device: str = "auto"
    """Device: cpu, cuda or mps; auto uses a GPU if there is one."""


class OfARun(OnADevice):
    """A request that computes with a run."""

    run: PathText = Field(default=...)
    """A run, a Hugging Face model folder or a GGUF file."""


class InADtype(OfARun):
    """A request that computes with a run in a dtype of choice."""

    dtype: str = "auto"
    """float32 or bfloat16; auto keeps weights as they came."""


class SamplingOptions(InADtype):
    """How tokens are sampled; what is not given is the model's own."""

    engine: EngineName = "auto"
    """auto, torch or native (compiled code: gptsmith[native])."""

    temperature: float | None = None
    """0 is greedy; below 1 is more deterministic, above 1 more random. Default: the model's own, or 0.8."""
    top_k: int | None = None
    """Sample from only this many of the most probable tokens."""
    top_p: float | None = None
    """Sample from the most probable tokens that together have this probability (nucleus sampling)."""
    min_p: float | None = None
    """Sample from tokens that are at least this fraction as probable as the most probable one."""
    repetition_penalty: float | None = None
    """Above 1, tokens that are already in the context become less probable."""
    seed: int | None = None
    """Random seed: the same seed and prompt give the same text. By default one is drawn, and shown."""

    @cached_property
    def resolved_seed(self) -> int:
        """The seed that is given, or else one that is drawn, always the same of one request."""
        return drawn_seed() if self.seed is None else self.seed

    def sampling(self) -> dict[str, Any]:
        """The settings of sampling, None if not given."""
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        return {name: getattr(self, name) for name in names}


class GenerateRequest(SamplingOptions):
    """The options of `generate`."""

    prompt: str | None = None
    """Text to continue; - or a pipe reads it from standard input. Without one, a new document starts."""
    prompts: PathText | None = None
    """A .jsonl file with one `prompt` per line; writes one JSON line per prompt."""
    max_tokens: int = Field(default=200, gt=0)
    """Maximum number of tokens to generate."""
    stop: Texts = Field(default_factory=list)
    """Stop before this text. May be repeated."""
    slide: bool = False
    """When the context is full, drop its oldest half and continue (sliding context)."""
    no_recital: int | None = Field(default=None, ge=2)
    """Never write this many tokens in a row of the training text, unless the prompt has them."""

    @model_validator(mode="after")
    def _has_one_source_of_prompts(self) -> Self:
        if self.prompts is not None and self.prompt is not None:
            raise ConfigurationError("give one prompt, or a file of them by --prompts, not both")
        return self


class ChatRequest(SamplingOptions):
    """The options of `chat`."""

    system: str | None = None
    """The system prompt."""
    documents: PathTexts = Field(default_factory=list)
    """Search this folder for each message. May be repeated."""
    max_tokens: int = Field(default=120, gt=0)
    """Maximum number of tokens per reply."""
    no_recital: int | None = Field(default=None, ge=2)
    """Never write this many tokens in a row of the training text, unless the conversation has them."""


class ExplainRequest(SamplingOptions):
    """The arguments of `explain`."""

    prompt: str | None = None
    """The text that it continues, or your message to a chat model. Of a classifier, the text to label."""
    messages: list[dict[str, str]] | None = None
    """The messages of a conversation, in place of a prompt."""
    system: str | None = None
    """The system prompt of a chat model."""
    reply: str | None = None
    """The reply to explain; by default the model writes one. Of a reward model, the reply that it scores."""
    word: int | None = None
    """Which word of the reply to explain, counted from 1. By default the one that it was least sure of."""
    whole: bool = False
    """Explain the whole reply, not one word."""
    against: str | None = None
    """The word, or label, to explain it against. By default the most probable other."""
    by: Grain | None = None
    """Parts of the prompt to take away: sentences, words or tokens. By default sentences, then words."""
    parts: bool = False
    """Show the parts of the network, too."""
    between: str | None = None
    """A second prompt, as long: explain what makes the difference."""
    heads: bool = False
    """Find the roles of the model's heads, in place of a word."""
    check: bool = False
    """Try on this model what explanations rest on."""
    methods: Texts = Field(default_factory=list)
    """A method, in place of alternatives and leave_one_out. May be repeated."""
    html: PathText | None = None
    """Write the explanation to this HTML file, which opens offline."""
    max_tokens: int = Field(default=60, gt=0)
    """Maximum number of tokens of the reply."""

    @model_validator(mode="after")
    def _asks_one_question(self) -> Self:
        if self.messages is not None and (self.prompt is not None or self.system is not None):
            raise ConfigurationError("give messages, or a prompt, not both")
        if self.whole and (self.word is not None or self.against is not None):
            raise ConfigurationError("--whole is about no single word: leave out --word and --against")
        answer: dict[str, Any] = {
            "--reply": self.reply,
            "--word": self.word,
            "--against": self.against,
            "--whole": self.whole,
        }
        answer |= {"--method": self.methods, "--parts": self.parts}
        prompt = {"a prompt": self.prompt, "messages": self.messages, "--between": self.between, "--html": self.html}
        if self.heads or self.check:
            refuse("--heads" if self.heads else "--check", {**prompt, **answer})
        if self.between is not None:
            refuse("--between", answer)
        return self


class PredictRequest(OfARun, ReadingOptions):
    """The arguments of `predict`."""

    run: PathText = Field(default=...)
    """A classifier's run folder."""
    files: Sources = Field(default=...)
    """Records to label: .jsonl, .csv or .parquet."""


class PairsRequest(InADtype):
    """The arguments of `pairs`."""

    run: PathText = Field(default=...)
    """A model that was tuned on conversations."""
    sources: Sources = Field(default=...)
    """Documents: files, folders and globs."""
    out: PathText = Field(default=...)
    """The file to write, one JSON object per line, as `finetune` reads it."""
    without: PathTexts = Field(default_factory=list)
    """Leave out the documents that a list of `audit --out` names."""
    redact: bool = False
    """Replace what `audit` finds by placeholders such as <EMAIL>."""
    limit: int | None = Field(default=None, gt=0)
    """Ask about at most this many passages, sampled by the seed."""
    seed: int = 0
    """Random seed for the passages that are asked about."""


class AuditRequest(OnADevice, ReadingOptions):
    """The arguments of `audit`."""

    sources: Sources = Field(default=...)
    """Texts (files, folders and globs), or one run."""
    find: Texts = Field(default_factory=list)
    """Of a run: list everything that it, and what came of it, holds of these words. May be repeated."""
    minutes: float | None = Field(default=None, gt=0)
    """Of a run: read for so many minutes, and a random sample of documents if there are more."""
    validation: Sources = Field(default_factory=list)
    """Texts that are to validate or to test: those that the others hold too, nearly or word for word, are named. May be
    repeated."""
    passages: int | None = Field(default=None, ge=50)
    """Name passages of so many bytes and more that stand in several documents, however much text there is; by default
    those of 200 bytes in texts of up to 20 MB, if gptsmith[explain] is installed."""
    kind: Texts = Field(default_factory=list)
    """Look for this kind alone, such as email or api_key. May be repeated."""
    names: PathText | None = None
    """Look for the names in this file too, one name or word per line."""
    out: PathText | None = None
    """Write the findings to this file, one JSON object per line. It holds what was found: only you can read it."""
    html: PathText | None = None
    """Of texts: write the audit, and figures of their quality, to this HTML file, which opens offline."""


class EvaluateRequest(InADtype, ReadingOptions):
    """The arguments of `evaluate`."""

    texts: Sources = Field(default_factory=list)
    """Texts to measure perplexity on; by default the run's validation split. With --task, files of examples."""
    task: str | None = None
    """Task: multiple_choice, classification, generated or arithmetic."""
    shots: int | None = Field(default=None, ge=0)
    """Solved examples before each question (few-shot)."""
    limit: int | None = Field(default=None, gt=0)
    """Evaluate at most this many examples, sampled by the seed."""
    skip_bad: bool = False
    """Skip examples that cannot be used, and list them."""
    against: PathText | None = None
    """Another run to compare with, by a paired test."""
    lm_eval: str | None = None
    """A task of EleutherAI's lm-eval, which brings its own data."""
    lm_eval_path: PathText | None = None
    """A folder with more tasks for lm-eval, as YAML files."""
    settings: Assignments = Field(default_factory=list)
    """A setting of the task, such as scorer=number. May be repeated."""
    seed: int = 0
    """Random seed for sampling examples, and for the bootstrap of intervals and tests."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.lm_eval is not None:
            others = {"a text": self.texts, "--task": self.task, "--against": self.against, "--set": self.settings}
            refuse("--lm-eval", {**others, "--skip-bad": self.skip_bad})
        elif self.task is None:
            others = {"--shots": self.shots, "--limit": self.limit, "--skip-bad": self.skip_bad, "--set": self.settings}
            refuse("a text, without --task,", others)
        if (given := self.reading_settings()) and not self.texts:
            names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ConfigurationError(f"{names} is for files to read: name some, or leave it out")
        return self


def refuse(what: str, others: dict[str, Any]) -> None:
    """Checks that nothing else was given.

    Raises:
        ConfigurationError: something was.
    """
    if given := [name for name, value in others.items() if value not in (None, False, (), [])]:
        raise ConfigurationError(f"{what} does not go together with {' and '.join(given)}: leave one of them out")


class TraceRequest(OfARun):
    """The arguments of `trace`."""

    run: PathText = Field(default=...)
    """A run."""
    text: PathText = Field(default=...)
    """A text, or a file that holds one; - reads it from standard input."""
    min_tokens: int | None = Field(default=None, gt=0)
    """The shortest match to list. Default: so long that at most 1 % of the places of held-out text have one."""
    forget: bool = False
    """Test which passage made the text more likely, by one step of forgetting on a copy of the weights."""
    prompt: str | None = None
    """The prompt that the text answers or continues, for the tests."""
    retrain: PathText | None = None
    """Train anew with and without a document: FILE, FILE:LINE or FILE:START-STOP (bytes)."""
    seeds: int = Field(default=5, ge=2, le=30)
    """With --retrain: the number of seeds, each trained with and without it."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.prompt is not None and not self.forget and self.retrain is None:
            raise ConfigurationError("--prompt is for tests: give --forget or --retrain too, or leave it out")
        return self


class ForgetRequest(OfARun):
    """The arguments of `forget`."""

    run: PathText = Field(default=...)
    """A run that was trained here."""
    found: PathText = Field(default=...)
    """A list of what to forget, as `audit RUN --find WORDS --out FILE` writes it; delete the lines that are to stay."""
    out: PathText | None = None
    """The new run folder. By default RUN-forgotten."""
    redact: bool = False
    """Put a placeholder in the place of the words, in every document, and leave no document out."""
    yes: bool = False
    """Delete everything else that holds it: the old run, what was made of it, and the cache. Never your own files."""
