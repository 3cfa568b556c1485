"""The families of models that other programs know. Each file is one family: a table of its settings and one of its
weights, both read in both directions.

Contract: a file defines `FAMILY`. `FAMILY.read(config)` is the shape that a config.json asks for, `FAMILY.write(shape)`
the config.json of a shape; a shape belongs to a family if writing and reading it gives it back.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from gptsmith.base.errors import ConversionError, did_you_mean, shown
from gptsmith.base.outside import imported_files, registered, registered_module
from gptsmith.base.settings import changed_keys, merged
from gptsmith.model.config import GPTConfig
from gptsmith.model.dims import LARGEST_DIM

Table = dict[str, Any]
REQUIRED: Any = object()


class Part(Protocol):
    """Some settings of a family, under their names and ours."""

    @property
    def keys(self) -> Sequence[str]:
        """Their names in a config.json."""

    def read(self, config: Mapping[str, Any]) -> Table:
        """The settings of a config, under our names."""

    def write(self, shape: GPTConfig) -> Table:
        """The settings of a shape, under their names."""


@dataclass(frozen=True)
class Setting:
    """One setting under their name and under ours, such as `attention.num_kv_heads`."""

    theirs: str
    ours: str
    default: Any = REQUIRED
    """The value for a config that does not name it."""
    values: Mapping[Any, Any] | None = None
    """Their values and ours, where they differ. The first that fits is written."""

    @property
    def keys(self) -> Sequence[str]:
        return (self.theirs,)

    def read(self, config: Mapping[str, Any]) -> Table:
        value = config.get(self.theirs, self.default)
        if value is REQUIRED:
            raise ConversionError(f"{self.theirs} is missing")
        if self.values is not None:
            if not isinstance(value, str | bool | int | None) or value not in self.values:
                raise ConversionError(
                    f"{self.theirs}={shown(value)} is not known ({did_you_mean(str(value), map(str, self.values))})"
                )
            value = self.values[value]
        return nested(self.ours, value)

    def can_write(self, shape: GPTConfig) -> bool:
        """Whether they have a value for ours."""
        return self.values is None or at_path(resolved(shape), self.ours) in self.values.values()

    def write(self, shape: GPTConfig) -> Table:
        value = at_path(resolved(shape), self.ours)
        if self.values is not None:
            value = next((theirs for theirs, ours in self.values.items() if ours == value), None)
        return {self.theirs: value}


@dataclass(frozen=True)
class Only:
    """A setting of theirs that would make it another model, with the one value that we know."""

    theirs: str
    value: Any

    @property
    def keys(self) -> Sequence[str]:
        return (self.theirs,)

    def read(self, config: Mapping[str, Any]) -> Table:
        if (value := config.get(self.theirs, self.value)) != self.value:
            raise ConversionError(f"{self.theirs}={shown(value)} is not known (allowed: {self.value!r})")
        return {}

    def write(self, shape: GPTConfig) -> Table:
        return {}


class Transform(Protocol):
    """The difference of a weight's values in a safetensors file, such as a norm that is kept as its distance from 1. A
    GGUF file keeps ours. Of a linear layer it may only put rows in another order: its adapters' rows follow."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our values."""

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their values."""


@dataclass(frozen=True)
class Weight:
    """One map, norm or table of vectors: its name with us, in a safetensors file and in a GGUF file. `{layer}` stands
    for the number of a block, `{expert}` for that of an expert; the names of its `weight` and its `bias` follow,
    unless ours is a parameter's. A tensor without `{expert}` in its name holds the parts of all experts: (E, out, in)
    in a GGUF file."""

    ours: str | tuple[str, ...]
    """Several are one matrix there, one below the other."""
    theirs: str
    gguf: str
    transposed: bool = False
    """Whether the matrix is (in, out) in a safetensors file, as GPT-1 and GPT-2 keep it."""
    transform: Callable[[GPTConfig], Transform] | None = None
    """The difference of its values in a safetensors file, for a model of a shape; None if they are ours."""

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.ours,) if isinstance(self.ours, str) else self.ours


@dataclass(frozen=True)
class GGUFArchitecture:
    """The code of llama.cpp for a family, and what it computes.

    Attributes:
        name: its name in a GGUF file.
        activation: the activation that it knows.
        near: activations that it computes by its own, which is so near that a certificate passes.
        epsilon: the key of the smallest variance of its norms.
        is_interleaved: whether rotary positions rotate neighbours together, where we rotate halves.
        scalings: the ways to scale rotary frequencies that it knows.
        has_head_dim: whether it knows heads that are not as wide as the model divided by their number.
        fixed: the settings that all its models share besides those of the family, under our names: no key says them.
        settings: its keys besides those that every architecture has, without its name before them.
        weights: the names of its weights, where its tensors hold other parts than those of a safetensors file.
    """

    name: str
    activation: str = "swiglu"
    near: tuple[str, ...] = ()
    epsilon: str = "attention.layer_norm_rms_epsilon"
    is_interleaved: bool = False
    scalings: tuple[str, ...] = ("linear", "yarn")
    has_head_dim: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[Part, ...] = ()
    weights: tuple[Weight, ...] = ()


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        model_type: its name in a config.json.
        architecture: its class in Transformers.
        gguf: llama.cpp's code for it; None if that does not know it.
        preset: the nearest of our presets.
        fixed: the settings that all its models share, under our names.
        settings: the settings in which they differ.
        defaults: their values of settings that a config may leave out, where several of ours follow from one.
        only: settings of theirs that would make it another model, with the one value that we know.
        weights: the names of its weights.
        prefix: the prefix of the names of all its weights but the head, and is left out in some files.
        extra: weights in files that the model does not need, as regular expressions.
        modules: the names of Transformers' modules that are others than the names of their weights in files.
        extends: the family that this one has all models of, and more; a model of both is that one's.
    """

    model_type: str
    architecture: str
    gguf: GGUFArchitecture | None
    preset: str
    fixed: Mapping[str, Any]
    settings: Sequence[Part]
    weights: Sequence[Weight]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    extra: Sequence[str] = ()
    modules: Mapping[str, str] = field(default_factory=dict)
    extends: str | None = None

    @property
    def head(self) -> str:
        """The name of the head's matrix in a safetensors file."""
        return next(f"{weight.theirs}.weight" for weight in self.weights if weight.ours == "head")

    def read(self, config: Mapping[str, Any]) -> GPTConfig:
        """The shape that a config asks for.

        Raises:
            ConversionError: it asks for something that no shape of ours is, or is not sound.
        """
        table: Table = dict(self.fixed)
        config = {**self.defaults, **config}
        for part in (*(Only(key, value) for key, value in self.only.items()), *self.settings):
            table = layered(table, part.read(config))
        return GPTConfig.parse(table, "config.json")

    def write(self, shape: GPTConfig) -> Table:
        """The config of a shape, as far as the family can say it."""
        config: Table = {"architectures": [self.architecture], "model_type": self.model_type}
        for part in self.settings:
            config |= part.write(shape)
        return config

    def unsupported(self, shape: GPTConfig) -> list[str]:
        """The settings of a shape that the family does not have, such as `attention.kind`; empty if there are none."""
        if shape.num_labels is not None:
            return ["num_labels"]
        unsaid = [part.ours for part in self.settings if isinstance(part, Setting) and not part.can_write(shape)]
        back = GPTConfig.parse(merged(_bare(shape), self.fixed)) if unsaid else self.read(self.write(shape))
        return sorted({*changed_keys(resolved(shape), resolved(back)), *unsaid})


def families() -> list[Family]:
    """All of them, by name: first ours, then those of installed packages and of files that a person named."""
    folder = importlib.import_module(__name__)
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    modules += [registered_module(entry) for name, entry in sorted(registered(__name__).items()) if name not in names]
    modules += [file.module for file in imported_files()]
    found = [family for module in modules if isinstance(family := getattr(module, "FAMILY", None), Family)]
    return list({family.model_type: family for family in reversed(found)}.values())[::-1]


def family_of(model_type: object) -> Family:
    """The family of that name.

    Raises:
        ConversionError: there is none.
    """
    known = {family.model_type: family for family in families()}
    if not isinstance(model_type, str) or model_type not in known:
        raise ConversionError(f"model_type={shown(model_type)} is not known (known: {', '.join(known)})")
    return known[model_type]


def family_for(shape: GPTConfig, *, preferred: str | None = None, among: Sequence[Family] | None = None) -> Family:
    """A family that a shape belongs to: the preferred one where it can be.

    Raises:
        ConversionError: it belongs to none; the message names what is in the way, and the nearest preset.
    """
    candidates = list(families() if among is None else among)
    candidates.sort(key=lambda family: (family.model_type != preferred, family.extends is not None))
    unsupported = {family.model_type: family.unsupported(shape) for family in candidates}
    for family in candidates:
        if not unsupported[family.model_type]:
            return family
    nearest = min(candidates, key=lambda family: _weight_of(unsupported[family.model_type]))
    own = resolved(shape)
    odd = [f"{key}={readable(at_path(own, key))}" for key in without_followers(unsupported[nearest.model_type])]
    raise ConversionError(
        f"no program that this format is for supports a model with {' and '.join(odd)}; the nearest that one does is "
        f"the preset {nearest.preset} (family {nearest.model_type})"
    )


def resolved(shape: GPTConfig) -> Table:
    """A shape as plain values, with what is chosen by rule written out, and without what only training knows."""
    head_dim, bias = shape.resolved_head_dim, shape.attention.bias
    output_bias = bias if shape.attention.output_bias is None else shape.attention.output_bias
    table = merged(
        _bare(shape),
        {
            "head_dim": head_dim,
            "attention": {
                "num_kv_heads": shape.num_kv_heads,
                "output_bias": output_bias,
                "qk_norm_per_head": shape.attention.qk_norm_per_head or not shape.attention.qk_norm,
                "scale": head_dim**-0.5 if shape.attention.scale is None else shape.attention.scale,
            },
            "feedforward": {"hidden_dim": shape.feedforward.width(shape.dims)},
        },
    )
    attention = table["attention"]
    if attention["kind"] == "sliding_window" and (
        not any(shape.attention.is_windowed(layer) for layer in range(shape.num_layers))  # type: ignore[attr-defined]
        or attention["window_size"] >= shape.context_length
    ):
        # A window as wide as the context is full attention.
        table["attention"] = {key: attention[key] for key in attention.keys() - {"window_size", "layers"}}
        table["attention"]["kind"] = "full"
    elif attention["kind"] == "sliding_window":
        table["attention"]["layers"] = [
            layer
            for layer in range(shape.num_layers)
            if shape.attention.is_windowed(layer)  # type: ignore[attr-defined]
        ]
    return table


def size_of(config: Mapping[str, Any], key: str, most: int = LARGEST_DIM) -> int:
    """A size that a config says, checked before anything is counted by it.

    Raises:
        ConversionError: it is no whole number from 1 to `most`.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise ConversionError(f"{key}={shown(value)} is not a whole number from 1 to {most:,}")
    return value


def nested(path: str, value: Any) -> Table:
    """`{"a": {"b": value}}` for `a.b`; empty if the value is None."""
    if value is None:
        return {}
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def at_path(table: Mapping[str, Any], path: str) -> Any:
    """The value at `a.b`; None if there is none."""
    value: Any = table
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> Table:
    """`below` with the values of `above`, group by group; another kind keeps the other settings of its group."""
    both = {
        key: layered(below[key], value) if isinstance(value, Mapping) and isinstance(below.get(key), Mapping) else value
        for key, value in above.items()
    }
    return {**below, **both}


def _bare(shape: GPTConfig) -> Table:
    table = shape.plain()
    for key in ("dropout", "init", "linear", "num_labels"):
        table.pop(key, None)
    return table


def without_followers(keys: Sequence[str]) -> list[str]:
    """The keys without those that follow from another: of a group whose kind differs only the kind is named."""
    groups = {key.removesuffix(".kind") for key in keys if key.endswith(".kind")}
    return [key for key in keys if key.endswith(".kind") or key.rpartition(".")[0] not in groups]


def _weight_of(unsupported: Sequence[str]) -> int:
    """How far a shape is from a family: another kind is further than another setting."""
    return sum(2 if key.endswith(".kind") else 1 for key in without_followers(unsupported))


def readable(value: Any) -> str:
    return "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
