"""The one trunk: GPT-1, GPT-2, GPT-3 and the default model are settings of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from gptsmith.base.errors import ConfigurationError, UserError, one_line
from gptsmith.model.compiling import compiled
from gptsmith.model.config import GPTConfig
from gptsmith.model.init import initialize
from gptsmith.model.kernels.cross_entropy import linear_cross_entropy, token_log_likelihoods
from gptsmith.model.kernels.dropout import Dropout
from gptsmith.model.kernels.soft_cap import soft_capped
from gptsmith.model.layout import KVCache, Layout
from gptsmith.model.linear import parameter_counts
from gptsmith.model.linear.dense import DenseEmbedding, DenseLinear
from gptsmith.model.position import Positions


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream.

    Attributes:
        recomputes: whether the backward pass computes the block again from its input, instead of keeping its
            activations (gradient checkpointing, Chen et al. 2016).
        is_compiled: whether it is computed by compiled code where a gradient is needed.
    """

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.recomputes = self.is_compiled = False
        self.placement, self.is_parallel = config.norm_placement, config.parallel_residual
        self.residual_multiplier = config.residual_multiplier
        self.attention_norm = self._norm(config, "pre", "post", "sandwich")
        self.attention = config.attention.build(config.dims, layer)
        self.attention_output_norm = self._norm(config, "output", "sandwich")
        self.feedforward_norm = self._norm(config, "pre", "post", "sandwich")
        self.feedforward = config.feedforward.build(config.dims)
        self.feedforward_output_norm = self._norm(config, "output", "sandwich")
        self.dropout = Dropout(config.dropout)

    @staticmethod
    def _norm(config: GPTConfig, *placements: str) -> nn.Module:
        """A norm where the placement of norms is one of these, else nothing."""
        return config.norm.build(config.embed_dim) if config.norm_placement in placements else nn.Identity()

    def forward(self, x: Tensor, positions: Positions, cache: KVCache | None) -> Tensor:
        """The residual stream (B, T, C) after this block."""
        if cache is not None or not torch.is_grad_enabled():
            return self._compute(x, positions, cache)
        compute = compiled(Block._compute) if self.is_compiled else Block._compute
        if self.recomputes:
            y: Tensor = checkpoint(compute, self, x, positions, None, use_reentrant=False)
            return y
        return compute(self, x, positions, None)

    def _compute(self, x: Tensor, positions: Positions, cache: KVCache | None) -> Tensor:
        # Post-norm (GPT-1): each sum is normalised. All others: the residual stream itself never is.
        if self.placement == "post":
            y = self.attention_norm(self._added(x, self.attention(x, positions, cache)))
            z: Tensor = self.feedforward_norm(self._added(y, self.feedforward(x if self.is_parallel else y)))
            return z
        y = self._added(x, self.attention_output_norm(self.attention(self.attention_norm(x), positions, cache)))
        fed = self.feedforward(self.feedforward_norm(x if self.is_parallel else y))
        return self._added(y, self.feedforward_output_norm(fed))

    def _added(self, x: Tensor, output: Tensor) -> Tensor:
        """The residual stream with the output of a half."""
        return torch.add(x, self.dropout(output), alpha=self.residual_multiplier)


class GPT(nn.Module):
    """A decoder-only transformer: token ids (B, T) to logits (B, T, V).

    Attributes:
        config: its shape.
        compute_dtype: the dtype of the residual stream and of all products; the weights' own if None.
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype: torch.dtype | None = None
        # In: tokens and positions become vectors of the residual stream.
        # The head's gradient is dense: a tied embedding adds its few rows to it, without a second matrix of zeros.
        self.embedding: DenseEmbedding = DenseEmbedding(
            config.vocab_size, config.embed_dim, sparse=config.tie_embeddings
        )
        self.position = config.position.build(config.dims)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.final_norm = nn.Identity() if config.norm_placement == "post" else config.norm.build(config.embed_dim)
        # Out: the head gives each token of the vocabulary a logit, with the embedding's own rows if they are tied.
        self.head = config.linear.build(config.embed_dim, config.vocab_size, bias=False, name="head")
        if config.tie_embeddings:
            self.head.tie(self.embedding.weight)
        self.score_head = DenseLinear(config.embed_dim, config.num_labels) if config.num_labels else None
        # Weights: which ones are trained, and their first values.
        config.linear.complete(self)
        initialize(self, config, seed)

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def num_parameters(self) -> int:
        """The number of its parameters; weights in blocks count one by one."""
        return sum(parameter_counts(self).values())

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the residual stream."""
        kept = next(each.dtype for each in self.parameters() if each.is_floating_point())
        return self.compute_dtype or kept

    def use_gradient_checkpointing(self, enabled: bool) -> None:
        """Says whether the backward pass computes each block again: less memory, more time, the same gradients."""
        for module in self.blocks:
            if isinstance(module, Block):
                module.recomputes = enabled

    def use_compiled_blocks(self, enabled: bool) -> None:
        """Says whether blocks are computed by compiled code in training, where all passes have one shape: the first one
        takes seconds or minutes, the others less time. Names of weights, evaluation and decoding stay as they are."""
        for module in self.blocks:
            if isinstance(module, Block):
                module.is_compiled = enabled

    @property
    def head_weight(self) -> Tensor:
        """The head's rows (V, C), one per token of the vocabulary: their products with hidden states are logits before
        their cap."""
        return self.head.matrix()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Logits (B, T, V) for the token after each of `input_ids` (B, T).

        Args:
            attention_mask: (B, S), 1 for a token and 0 for padding, on any side; S counts cached tokens too.
            cache: the keys and values of earlier tokens; those of these tokens are added to it.

        Raises:
            UserError: there are more tokens than the context holds.
        """
        return self.logits(self.hidden(input_ids, attention_mask, cache))

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., C). On a processor they are float32 or finer: rounded to bfloat16,
        many tokens would have the same."""
        if hidden.device.type == "cpu":
            hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        return soft_capped(self.head(hidden), self.config.logits_cap)

    def cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The sum of -ln p(target), in nats, over all `targets` (...) that are not -100, of hidden states (..., C); the
        logits of a whole batch need not exist."""
        return linear_cross_entropy(hidden, self.head_weight, targets, self.config.logits_cap)

    def token_log_likelihoods(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """ln p(target) of each of `targets` (B, T) that is not -100, of hidden states (B, T, C), row by row; and before
        it the row that each stands in."""
        return token_log_likelihoods(hidden, self.head_weight, targets, self.config.logits_cap)

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores (..., num_labels), in float32 or finer, of hidden states (..., C): the output of the second head that
        a classifier or a reward model has."""
        assert self.score_head is not None, "only a model with config.num_labels has scores"
        scores: Tensor = self.score_head(hidden)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states (B, T, C), normalised: the head's input.

        Args:
            segments: (B, T), which of several sequences in its row a token belongs to, one after the other. Each is
                read as if it stood alone.

        The other arguments are as in `forward`.
        """
        x, positions = self.first_state(input_ids, attention_mask, cache, segments)
        # The residual stream: each block adds what its attention and its feed-forward half make of it.
        for block in self.blocks:
            x = block(x, positions, cache)
        if cache is not None:
            cache.advance(input_ids.shape[1])
        return self.finished(x)

    def first_state(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        segments: Tensor | None = None,
    ) -> tuple[Tensor, Positions]:
        """The residual stream (B, T, C) that the first block gets, and the positions that all get. The arguments are as
        in `hidden`.
        """
        T = input_ids.shape[1]
        # Where each token stands and what it may attend to, once for all layers.
        if segments is not None:
            layout = Layout.packed(segments)
        elif cache is None:
            layout = Layout.causal(T, input_ids.device, attention_mask=attention_mask)
        else:
            layout = cache.layout(T, attention_mask)
        if self.config.context_length < layout.length:
            raise UserError(f"{layout.length} tokens do not fit in a context of {self.config.context_length}")
        positions = Positions.of(self.position, layout)
        x: Tensor = self.embedding(input_ids)  # (B, T, C)
        if self.compute_dtype is not None:
            x = x.to(self.compute_dtype)
        if self.config.embedding_multiplier != 1:
            x = x * self.config.embedding_multiplier
        return self.dropout(self.position.embed(x, layout.ids).to(x.dtype)), positions

    def finished(self, x: Tensor) -> Tensor:
        """The last hidden states (B, T, C) of the residual stream behind the last block."""
        normalised: Tensor = self.final_norm(x)
        # The head is linear: dividing its input divides the logits.
        return normalised if self.config.logits_scaling == 1 else normalised / self.config.logits_scaling


def in_memory(weight: Tensor) -> Tensor:
    """A weight in the dtype that it is kept in to compute with: bfloat16 and integers as they are; all others float32,
    which holds every number of float16."""
    return weight if weight.dtype == torch.bfloat16 or not weight.is_floating_point() else weight.float()


def computing_in_float32(model: GPT) -> GPT:
    """The model, whose products are in float32 where its weights are bfloat16."""
    if any(parameter.dtype == torch.bfloat16 for parameter in model.parameters()):
        model.compute_dtype = torch.float32
    return model


class _WithoutInit(TorchFunctionMode):
    """Leaves parameters as they are made. PyTorch draws the first weights of an embedding even if there is no memory
    for them, and imports its compiler for that, which takes a second."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def meta_model(config: GPTConfig) -> GPT:
    """A model of this shape without memory for its weights, to look at names and shapes."""
    with _WithoutInit(), torch.device("meta"):
        return GPT(config)


def shaped_model(config: GPTConfig, origin: str) -> GPT:
    """A model without memory, of a shape that anybody may have written.

    Args:
        origin: where the shape comes from, for the message.

    Raises:
        ConfigurationError: no model has this shape.
    """
    try:
        return meta_model(config)
    except UserError:
        raise
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{origin}: no model has this shape: {one_line(error)}") from None


def with_memory(model: GPT, device: torch.device | str = "cpu") -> GPT:
    """A model made without memory, with memory for its weights on a device; they are still to be filled in."""
    model.to_empty(device=device)
    if model.config.tie_embeddings:
        model.head.tie(model.embedding.weight)
    return model


def empty_model(config: GPTConfig, device: torch.device | str = "cpu") -> GPT:
    """A model of this shape on a device, whose weights are still to be filled in."""
    return with_memory(meta_model(config), device)
