"""Adapters under PEFT's names and in its form, in both directions, by a family's table.

PEFT adapts a map of Transformers', which may be several of ours one below the other, as GPT-2's `c_attn` is. With one
rank of its own for each, its A is their A's one below the other and its B has theirs as blocks:

    | Bq       |   | Aq |
    |    Bk    | * | Ak |
    |       Bv |   | Av |
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gptsmith.base.errors import ConversionError, DataError, one_line, shown
from gptsmith.base.files import read_table
from gptsmith.base.hints import shell_command
from gptsmith.convert.families import Family
from gptsmith.convert.safetensors_files import PICKLES, SHOWN, TensorFiles, inside
from gptsmith.convert.state_dict import TensorMapping, plain_weights, tensor_mappings
from gptsmith.model.config import GPTConfig
from gptsmith.model.feedforward.experts import ExpertsSettings
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.linear import layer_name, linear_layers
from gptsmith.model.linear.lora import LoraLinear, LoraLinearSettings
from gptsmith.model.transform import with_adapters
from gptsmith.text.patterns import require_bounded

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base"
"""The folder beside an adapter's files that holds its base, where no other does."""
PREFIX = "base_model.model."
"""The prefix of the name of a linear layer in PEFT's files."""
A, B = ".lora_A.weight", ".lora_B.weight"
BASE_SHA256 = "base_sha256"
"""The key in the metadata of an adapter's weights of the fingerprint of its base. PEFT ignores it."""

READ = frozenset(
    {"peft_type", "task_type", "bias", "init_lora_weights", "r", "lora_alpha", "use_rslora", "rank_pattern",
     "alpha_pattern", "lora_dropout", "base_model_name_or_path"}
)  # fmt: skip
WITHOUT_EFFECT = frozenset(
    {"auto_mapping", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
     "layers_to_transform", "megatron_core", "peft_version", "qalora_group_size", "revision", "target_modules"}
)  # fmt: skip
"""Options that change nothing once there are weights: the names of the weights say which linear layers are adapted."""
SAME_BASE = (None, True, False, "gaussian", "orthogonal", "eva")
"""First weights that leave the base as it is; others, such as PiSSA's, take them out of the base."""


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of a plain model's weights, as float32, under our names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def linear_mappings(family: Family, config: GPTConfig) -> dict[str, TensorMapping]:
    """The linear layers of a model of this shape by their name in Transformers; the head too where it is the
    embedding."""
    places = linear_layers(meta_model(config))
    table = tensor_mappings(family, config.model_copy(update={"tie_embeddings": False}))
    found = {
        mapping.theirs.removesuffix(".weight"): mapping
        for mapping in table
        if mapping.theirs.endswith(".weight") and all(_place(name) in places for name in mapping.ours)
    }
    return {family.modules.get(name, name): mapping for name, mapping in found.items()}


def their_adapters(model: GPT, family: Family) -> dict[str, tuple[Tensor, Tensor]]:
    """A (rank, in) and B (out, rank) of each map of Transformers' that has an adapter, by its name."""
    maps = linear_layers(model)
    found = {}
    for name, mapping in linear_mappings(family, model.config).items():
        parts = [maps[_place(own)] for own in mapping.ours]
        adapted = [part for part in parts if isinstance(part, LoraLinear)]
        if not adapted:
            continue
        a = torch.cat([part.lora_a.detach() for part in adapted])
        b = a.new_zeros(sum(mapping.rows), len(a))
        column = 0
        for part, block in zip(parts, torch.split(b, list(mapping.rows)), strict=True):
            if isinstance(part, LoraLinear):
                rank = len(part.lora_a)
                block[:, column : column + rank] = part.lora_b.detach()
                column += rank
        found[name] = (a, b if mapping.transform is None else mapping.transform.to_theirs(b))
    return found


def require_linear(model: GPT) -> None:
    """
    Raises:
        ConversionError: a linear layer with an adapter is none in Transformers, which keeps experts in one parameter.
    """
    adapted = {layer_name(place) for place, layer in linear_layers(model).items() if isinstance(layer, LoraLinear)}
    odd = sorted(name for name in adapted if name.startswith("feedforward."))
    if odd and isinstance(model.config.feedforward, ExpertsSettings):
        raise ConversionError(
            f"PEFT has no adapters of experts and their routers ({', '.join(odd)}): merge the adapters with "
            f"{shell_command('merge', 'RUN')} and export the model, or tune with "
            "--set 'model.linear.targets=[\"attention.*\"]'"
        )


def adapter_config(model: GPT, family: Family, base: str) -> dict[str, Any]:
    """The adapter_config.json of a model with adapters over the base in the folder `base`."""
    settings = model.config.linear
    assert isinstance(settings, LoraLinearSettings)
    table = linear_mappings(family, model.config)
    ranks = {name: len(a) for name, (a, _) in their_adapters(model, family).items()}
    targets = _targets(ranks, table)
    # One rank for all but layers that are several of ours. Both numbers grow alike, so that the factor stays the same.
    wider = {_shortest(name, targets): rank // settings.rank for name, rank in ranks.items() if rank != settings.rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets,
        "rank_pattern": {target: settings.rank * times for target, times in wider.items()},
        "alpha_pattern": {target: settings.alpha * times for target, times in wider.items()},
        "fan_in_fan_out": any(table[name].transposed for name in ranks),
        "bias": "none",
    }


def adapter_tensors(model: GPT, family: Family) -> dict[str, Tensor]:
    """The tensors of adapter_model.safetensors."""
    return {
        f"{PREFIX}{name}{suffix}": tensor.float().contiguous()
        for name, both in their_adapters(model, family).items()
        for suffix, tensor in zip((A, B), both, strict=True)
    }


def is_adapter_folder(path: Path) -> bool:
    """Whether a path is a folder with an adapter in PEFT's form."""
    return (path / ADAPTER_CONFIG).is_file()


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter in PEFT's form whose settings are ones that we compute exactly; no weight has been read yet.

    Attributes:
        ranks: the rank of each adapted map, by its name in Transformers.
        fingerprint: that of its base; None if the folder does not say.
    """

    folder: Path
    config: Mapping[str, Any]
    files: TensorFiles
    ranks: Mapping[str, int]
    fingerprint: str | None

    @classmethod
    def open(cls, folder: Path) -> AdapterFolder:
        """
        Raises:
            ConversionError: a setting is not known, or a file is not sound.
        """
        config = read_table(inside(folder, ADAPTER_CONFIG))
        _refuse_unknown(config, folder / ADAPTER_CONFIG)
        if not (folder / ADAPTER_WEIGHTS).is_file():
            if pickles := [name for name in PICKLES if (folder / name).exists()]:
                raise ConversionError(
                    f"{folder / pickles[0]} is a pickle, which can run any program when it is read: load the adapter "
                    f"where that can do no harm, and keep it as {ADAPTER_WEIGHTS} with PEFT's save_pretrained"
                )
            raise ConversionError(f"{folder} holds no adapter (expected {ADAPTER_WEIGHTS})")
        path = inside(folder, ADAPTER_WEIGHTS)
        files = TensorFiles([path])
        ranks = {}
        for name, shape in files.shapes.items():
            if name.startswith(PREFIX) and name.endswith(A) and shape:
                ranks[name.removeprefix(PREFIX).removesuffix(A)] = shape[0]
        if not ranks:
            raise ConversionError(f"{path} holds no adapters (expected names such as {PREFIX}MAP{A})")
        try:
            with safe_open(path, framework="pt") as opened:
                metadata = opened.metadata() or {}
        except SafetensorError as error:
            raise ConversionError(f"{path} is not a sound safetensors file: {one_line(error)}") from None
        return cls(folder, config, files, ranks, metadata.get(BASE_SHA256))

    @property
    def base(self) -> Path | None:
        """The folder of its base: the one beside it, else the one that it names; None if neither is here."""
        named = self.config.get("base_model_name_or_path")
        candidates = [self.folder / BASE, *([Path(named)] if isinstance(named, str) and named else [])]
        return next((path for path in candidates if path.is_dir()), None)

    def require_base(self, given: str | Path | None) -> str | Path:
        """The run or model folder that it is to be applied to: the given one, else the one that it names.

        Raises:
            ConversionError: none is given, and the one that it names is not here.
        """
        found = given if given is not None else self.base
        if found is None:
            named = shown(self.config.get("base_model_name_or_path"))
            raise ConversionError(
                f"{self.folder} holds adapters, and their base {named} is no folder here: name it with "
                "--base (a run, or a model folder)"
            )
        return found

    def factor(self, name: str) -> float:
        """The factor of B A in the linear layer of this name."""
        alpha = self._setting(name, "lora_alpha", "alpha_pattern")
        return alpha / (math.sqrt(self.ranks[name]) if self.config.get("use_rslora") else self.ranks[name])

    def require_fit(self, model: GPT, family: Family) -> None:
        """Checks that the adapter belongs to this base, by names, by shapes and, where it says so, by fingerprint.

        Raises:
            ConversionError: it does not.
        """
        table = linear_mappings(family, model.config)
        if odd := sorted(self.ranks.keys() - table.keys()):
            known = sorted({_without_layer(name) for name in table})
            raise ConversionError(
                f"{self.folder}: the base has no linear layers {_some(odd)} (those of the family {family.model_type}: "
                f"{', '.join(known)})"
            )
        wanted: dict[str, tuple[int, ...]] = {}
        for name, rank in self.ranks.items():
            if (said := self._setting(name, "r", "rank_pattern")) != rank:
                raise ConversionError(f"{self.folder}: {name} has rank {rank}, and {ADAPTER_CONFIG} says {said:g}")
            shape = table[name].shape[::-1] if table[name].transposed else table[name].shape
            wanted |= {PREFIX + name + A: (rank, shape[1]), PREFIX + name + B: (shape[0], rank)}
        if missing := sorted(wanted.keys() - self.files.shapes.keys()):
            raise ConversionError(f"{self.folder}: missing: {_some(missing)}")
        unsupported = [
            f"{one_line(name, 80)} is {shown(self.files.shapes[name])} and the base asks for {shape}"
            for name, shape in wanted.items()
            if self.files.shapes[name] != shape
        ]
        if unsupported:
            raise ConversionError(f"{self.folder} is not an adapter of this base: {_some(unsupported)}")
        self._require_same_base(model, family, self.files.shapes.keys() - wanted.keys())

    def apply_adapter(self, model: GPT, family: Family) -> GPT:
        """A new model with the adapter over `model`, which is its base.

        Our adapters have one rank and one factor: a smaller rank is filled up with rows of A that B does not use, and
        another factor becomes part of B.
        """
        parts = dict(self._parts(linear_mappings(family, model.config)))
        rank = max(len(a) for a, _, _ in parts.values()) or max(self.ranks.values())
        places = [place for place, (a, _, _) in parts.items() if len(a)] or list(parts)
        factor = max(parts[place][2] for place in places)
        settings = LoraLinearSettings.parse(
            {
                "rank": rank,
                "alpha": factor * rank,
                "dropout": self.config.get("lora_dropout", 0.0),
                "targets": list(dict.fromkeys(layer_name(place) for place in places)),
            },
            str(self.folder / ADAPTER_CONFIG),
        )
        made = with_adapters(model, settings)
        maps = linear_layers(made)
        with torch.no_grad():
            for place, (a, b, own_factor) in parts.items():
                adapted = maps[place]
                if isinstance(adapted, LoraLinear):
                    adapted.lora_a[: len(a)].copy_(a)
                    adapted.lora_b[:, : len(a)].copy_(b.to(adapted.lora_b.dtype) * (own_factor / adapted.factor))
        return made.eval()

    def _parts(self, table: Mapping[str, TensorMapping]) -> Iterator[tuple[str, tuple[Tensor, Tensor, float]]]:
        """A, B and the factor of each of our linear layers by its place. One that is a part of theirs takes its rows of
        B, and of A those that reach it: so blocks have their own rank again."""
        for name in self.ranks:
            mapping = table[name]
            a, b = (self.files.read(PREFIX + name + suffix) for suffix in (A, B))
            b = b if mapping.transform is None else mapping.transform.to_ours(b)
            for own, rows in zip(mapping.ours, torch.split(b, list(mapping.rows)), strict=True):
                used = rows.any(dim=0) if len(mapping.ours) > 1 else torch.ones(len(a), dtype=torch.bool)
                yield _place(own), (a[used], rows[:, used], self.factor(name))

    def _setting(self, name: str, key: str, patterns: str) -> float:
        """A number of the config, or the one of the first pattern that fits the name, as PEFT chooses it."""
        table = self.config.get(patterns) or {}
        fits = (value for pattern, value in table.items() if re.match(rf"(.*\.)?({pattern})$", name))
        return float(next(fits, self.config.get(key, 8)))

    def _require_same_base(self, model: GPT, family: Family, others: Sequence[str] | set[str]) -> None:
        """PEFT keeps what it adapts beside the adapter where that is the head: it must be the base's.

        Raises:
            ConversionError: a tensor is another than the base's, or none that we know; or the fingerprint is another's.
        """
        ours = plain_weights(model)
        if self.fingerprint is not None and self.fingerprint != fingerprint(ours):
            raise ConversionError(
                f"{self.folder} is an adapter of another base: its weights have SHA-256 {self.fingerprint[:12]}, "
                f"and this one's {fingerprint(ours)[:12]}"
            )
        ours.setdefault("head.weight", ours["embedding.weight"])
        table = {mapping.theirs: mapping for mapping in tensor_mappings(family, model.config)} | {
            f"{name}.weight": mapping for name, mapping in linear_mappings(family, model.config).items()
        }
        for name in sorted(others):
            mapping = table.get(name.removeprefix(PREFIX).replace(".base_layer.", "."))
            if mapping is None:
                raise ConversionError(f"{self.folder / ADAPTER_WEIGHTS}: {name} is not known (allowed: *{A} and *{B})")
            tensor, own = self.files.read(name), mapping.join(ours)
            if tensor.shape != own.shape or not tensor.equal(own.to(tensor.dtype)):
                raise ConversionError(
                    f"{self.folder}: {name} is not the base's: only adapters are read, and no other weights"
                )


def _refuse_unknown(config: Mapping[str, Any], path: Path) -> None:
    """
    Raises:
        ConversionError: a setting would make it another model than we compute, or is not sound.
    """
    for key, allowed in {
        "peft_type": ("LORA",),
        "task_type": ("CAUSAL_LM", None),
        "bias": ("none", None),
        "init_lora_weights": SAME_BASE,
    }.items():
        if (value := config.get(key)) not in allowed:
            raise ConversionError(
                f"{path}: {key}={shown(value)} is not known (allowed: {', '.join(map(str, allowed))})"
            )
    for key in sorted(config.keys() - READ - WITHOUT_EFFECT):
        if config[key]:
            raise ConversionError(
                f"{path}: {one_line(key, 60)}={shown(config[key])} is not known: only LoRA adapters are read"
            )
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        # Not read here, but by PEFT, with which the run is compared.
        given = config.get(key)
        for pattern in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
            _require_pattern(path, key, pattern)
    numbers = {key: config[key] for key in ("r", "lora_alpha") if key in config}
    for key in ("rank_pattern", "alpha_pattern"):
        table = config.get(key) or {}
        if not isinstance(table, Mapping):
            raise ConversionError(f"{path}: {key} is not a table")
        numbers |= {f"{key}.{pattern}": value for pattern, value in table.items()}
        for pattern in table:
            _require_pattern(path, key, pattern)
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConversionError(f"{path}: {one_line(key, 100)}={shown(value)} is not a number above 0")


def _targets(names: Mapping[str, int], table: Mapping[str, TensorMapping]) -> list[str]:
    """The shortest names that PEFT finds these layers by, and no others: `c_fc`, but `attn.c_proj` where `mlp.c_proj`
    is not adapted."""
    others = table.keys() - names.keys()
    targets = []
    for name in names:
        parts = _without_layer(name).split(".")
        ends = [".".join(parts[at:]) for at in range(len(parts) - 1, -1, -1)]
        free = (end for end in ends if not any(_ends_with(other, end) for other in others))
        targets.append(next(free, name))
    return sorted(set(targets))


def _shortest(name: str, targets: Sequence[str]) -> str:
    return next(target for target in targets if _ends_with(name, target))


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _without_layer(name: str) -> str:
    """`attn.c_attn` for `transformer.h.0.attn.c_attn`."""
    return re.sub(r"^.*\.\d+\.", "", name)


def _place(parameter: str) -> str:
    """The module of a parameter: `blocks.0.attention.query` for `blocks.0.attention.query.weight`."""
    return parameter.rpartition(".")[0]


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(one_line(name, 160) for name in names[:SHOWN]) + rest


def _require_pattern(path: Path, key: str, pattern: object) -> None:
    """
    Raises:
        ConversionError: it is no regular expression, or one whose time could be without bound.
    """
    if not isinstance(pattern, str):
        raise ConversionError(f"{path}: {key}: {one_line(repr(pattern), 60)} is not a pattern")
    try:
        require_bounded(pattern)
        re.compile(pattern)
    except DataError as error:
        raise ConversionError(f"{path}: {key}: {error}") from None
    except (re.error, RecursionError, OverflowError) as error:
        shown = one_line(repr(pattern), 60)
        raise ConversionError(f"{path}: {key}: {shown} is not a pattern: {one_line(error, 100)}") from None
