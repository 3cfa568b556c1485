"""Requests of the verbs that derive, convert and list models: options of the command line, and arguments in Python."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import Settings
from gptsmith.base.verbs import Assignments, PathText, PathTexts, Size, Texts
from gptsmith.workflows.requests import OfARun, refuse


class DeriveRequest(OfARun):
    """The arguments of the verbs that make a run of a run."""

    out: PathText | None = None
    """The new run folder. By default RUN-KIND, or RUN-merged."""


class CompressRequest(DeriveRequest):
    """The arguments of `compress`."""

    others: PathTexts = Field(default_factory=list)
    """With --compare: more compressed runs."""
    out: PathText | None = None
    """The new run folder, by default RUN-KIND; with --compare the page, by default comparison.html beside RUN."""
    compare: bool = False
    """Instead: a table and a page of compressed runs of one source."""
    to: str | None = None
    """Compression method: int8 by rows, or all matrices in blocks of GGUF: q8_0, q5_1, q5_0, q4_1, q4_0."""
    bits: float | None = Field(default=None, ge=4.5, le=8.5)
    """Bits per weight, on average: each matrix gets the format that suits it, calibrated on the training text."""
    bytes: Size | None = None
    """The same, for so many bytes of weights: 80MB."""
    layers: int | None = Field(default=None, gt=0)
    """Layers that stay: those that change the text's vectors most."""
    feedforward: int | None = Field(default=None, gt=0)
    """Width of the feed-forward halves, a multiple of 64: the units that add most stay."""
    heal_minutes: float | None = Field(default=None, gt=0)
    """Train the smaller model this long to predict what the original does, on the original's training text."""
    text: PathTexts = Field(default_factory=list)
    """Calibrate, heal and judge on this text, not the training text. May be repeated."""

    @model_validator(mode="after")
    def _makes_it_smaller(self) -> Self:
        sizes = ("to", "bits", "bytes", "layers", "feedforward", "heal_minutes", "text")
        if self.compare:
            refuse("--compare", {f"--{name.replace('_', '-')}": getattr(self, name) for name in sizes})
            return self
        if self.others:
            raise ConfigurationError(f"only one run can be compressed at a time, not {self.others[0]} too")
        rounding = [f"--{name}" for name in ("to", "bits", "bytes") if getattr(self, name) is not None]
        if len(rounding) > 1:
            raise ConfigurationError(f"{' and '.join(rounding)} exclude each other: each says how weights are rounded")
        if not rounding and self.layers is None and self.feedforward is None:
            healing = "" if self.heal_minutes is None else ": --heal-minutes alone makes nothing smaller"
            raise ConfigurationError(
                f"say how to make it smaller, by --bits, --bytes, --to, --layers or --feedforward{healing}"
            )
        return self


class MergeRequest(DeriveRequest):
    """The arguments of `merge`."""

    run: PathText = Field(default=...)
    """The folder of a run with LoRA adapters, or of one whose weights several processes wrote in parts."""
    same_format: bool = False
    """Round the merged weights again to what those below the adapters are in: int8, or GGUF's blocks."""


class ImportModelRequest(Settings):
    """The arguments of `import`."""

    source: PathText = Field(default=...)
    """A Hugging Face model folder, a GGUF file, a folder of PEFT adapters, or a model's name on the Hub."""
    out: PathText | None = None
    """The new run folder. By default runs/NAME."""
    base: PathText | None = None
    """The base model of the adapters. By default the one that they name."""
    revision: str | None = None
    """Version of the model on the Hub."""


class ExportRequest(Settings):
    """The arguments of `export`."""

    run: PathText = Field(default=...)
    """A run folder."""
    to: str = Field(default=...)
    """Format: huggingface, gguf, ollama, or peft for adapters only."""
    out: PathText | None = None
    """The new folder. By default RUN-FORMAT."""
    precision: str | None = None
    """Precision of the weights: float32, float16, bfloat16 or q8_0. The default depends on the format."""
    push: str | None = None
    """A model on the Hugging Face Hub to bring the folder to, as hf:owner/name. It is made private."""
    public: bool = False
    """With --push: a new model is public."""
    settings: Assignments = Field(default_factory=list)
    """A setting of the format. May be repeated."""


class CertifyRequest(Settings):
    """The arguments of `certify`."""

    one: PathText = Field(default=...)
    """A run, a Hugging Face model folder or a GGUF file."""
    other: PathText = Field(default=...)
    """Another; llama.cpp reads a GGUF file here."""
    precision: str = "float32"
    """Precision within which they must agree: float32, float16, bfloat16 or q8_0."""
    out: PathText | None = None
    """Folder to write certificate.json and certificate.html to."""


class InfoRequest(Settings):
    """The arguments of `info`."""

    run: PathText | None = None
    """A run, a Hugging Face model folder or a GGUF file."""
    preset: str | None = None
    """A preset instead of a run, such as gpt2-xl."""
    settings: Assignments = Field(default_factory=list)
    """A setting that changes the preset, such as model.num_layers=6. May be repeated."""


class CacheRequest(Settings):
    """The options of `cache`."""

    empty: bool = False
    """Delete what is listed, but for what is in use."""
    kind: Texts = Field(default_factory=list)
    """Only records, corpora, tokens, tokenizers, suffix_arrays, near_duplicates, examples, references, models,
    compiled, documents, speeds or leftovers. May be repeated."""
    older_than: float | None = Field(default=None, ge=0)
    """Only what has not been used for so many days."""


class RunsRequest(Settings):
    """The arguments of `runs`."""

    folder: PathText = "runs"
    """The folder that holds runs."""


class WatchRequest(Settings):
    """The options of `watch`."""

    runs: PathTexts = Field(default_factory=list)
    """Run folders. By default all runs in runs/."""
    port: int = 0
    """Port on 127.0.0.1; 0 selects a free one."""
    open: bool = False
    """Open the page in a browser."""
