"""A GPT in one file, for reading: the model, its training on a text, and sampling from it.

    python examples/one_file_gpt.py my_text.txt --steps 1000

`Config()` is the shape of gptsmith's default model, which is Qwen3's: RMSNorm, rotary positions, grouped-query
attention with QK-norm, SwiGLU, no biases. `Config.gpt2()` is GPT-2's: LayerNorm, learned positions, multi-head
attention, GELU, biases.
A test holds both equal to gptsmith's model, weight for weight, logit for logit and gradient for gradient.

Shapes: B batch, T tokens, C width, H query heads, K key-value heads, D head width, V vocabulary.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Config:
    """The shape of a model. The defaults are small enough for a laptop's processor."""

    vocab_size: int = 256  # one token per byte
    context_length: int = 128  # the most tokens that the model sees at once
    num_layers: int = 4
    embed_dim: int = 128  # C, the width of the residual stream
    num_heads: int = 4  # H
    num_kv_heads: int = 2  # K: each key-value head serves H / K query heads
    head_dim: int = 32  # D
    hidden_dim: int = 384  # the width inside the feed-forward half
    rotary: bool = True  # else positions are learned vectors, added to the embedding
    gated: bool = True  # SwiGLU, else an MLP with GELU
    rms_norm: bool = True  # else LayerNorm
    qk_norm: bool = True  # whether queries and keys are normalised per head
    bias: bool = False  # whether linear maps have biases
    tie_embeddings: bool = False  # whether the head is the embedding itself

    @classmethod
    def gpt2(cls, **shape: int) -> Config:
        """GPT-2's choices (Radford et al. 2019), at any size."""
        defaults = {"num_kv_heads": 4, "hidden_dim": 512}
        choices = {"rotary": False, "gated": False, "rms_norm": False, "qk_norm": False, "bias": True}
        return cls(**{**defaults, **shape}, **choices, tie_embeddings=True)

    def norm(self, dim: int) -> nn.Module:
        return nn.RMSNorm(dim, eps=1e-6) if self.rms_norm else nn.LayerNorm(dim, eps=1e-5)


def rotate(x: Tensor, base: float = 100_000.0) -> Tensor:
    """Rotary position embedding (Su et al. 2021): turns each pair of dimensions of x (B, H, T, D) by an angle that
    grows with the position, so that the product of a query and a key depends on their distance."""
    T, D = x.shape[-2:]
    frequencies = 1.0 / base ** (torch.arange(0, D, 2, device=x.device) / D)  # (D/2)
    angles = torch.arange(T, device=x.device)[:, None] * frequencies  # (T, D/2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)  # (B, H, T, D/2) each
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)  # (B, H, T, D)


class Attention(nn.Module):
    """softmax(QK' / sqrt D) V (Vaswani et al. 2017, equation 1): every token looks at itself and those before it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C, H, K, D = config.embed_dim, config.num_heads, config.num_kv_heads, config.head_dim
        self.config = config
        self.query = nn.Linear(C, H * D, bias=config.bias)
        self.key = nn.Linear(C, K * D, bias=config.bias)
        self.value = nn.Linear(C, K * D, bias=config.bias)
        self.output = nn.Linear(H * D, C, bias=config.bias)
        self.query_norm = config.norm(D) if config.qk_norm else nn.Identity()
        self.key_norm = config.norm(D) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        H, K, D = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        q = self.query_norm(self.query(x).view(B, T, H, D).transpose(1, 2))  # (B, H, T, D)
        k = self.key_norm(self.key(x).view(B, T, K, D).transpose(1, 2))  # (B, K, T, D)
        v = self.value(x).view(B, T, K, D).transpose(1, 2)  # (B, K, T, D)
        if self.config.rotary:
            q, k = rotate(q), rotate(k)
        # Each key-value head is repeated for the query heads of its group.
        k, v = k.repeat_interleave(H // K, dim=1), v.repeat_interleave(H // K, dim=1)  # (B, H, T, D)
        scores = q @ k.transpose(2, 3) / math.sqrt(D)  # (B, H, T, T): how well each query matches each key
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(diagonal=1)
        pattern = scores.masked_fill(future, -math.inf).softmax(dim=-1)  # (B, H, T, T): rows sum to 1
        mixed = pattern @ v  # (B, H, T, D): for each query the mean of the values, weighted by its pattern
        return self.output(mixed.transpose(1, 2).reshape(B, T, H * D))  # (B, T, C)


class FeedForward(nn.Module):
    """Each token by itself: SwiGLU (Shazeer 2020), or GPT-2's MLP."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C, F = config.embed_dim, config.hidden_dim
        self.gate = nn.Linear(C, F, bias=config.bias) if config.gated else None
        self.input = nn.Linear(C, F, bias=config.bias)
        self.output = nn.Linear(F, C, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is not None:
            return self.output(functional.silu(self.gate(x)) * self.input(x))  # (B, T, C)
        return self.output(functional.gelu(self.input(x), approximate="tanh"))  # (B, T, C)


class Block(nn.Module):
    """Attention moves information between tokens, feed-forward works on each; both add to the residual stream."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm, self.attention = config.norm(config.embed_dim), Attention(config)
        self.feedforward_norm, self.feedforward = config.norm(config.embed_dim), FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feedforward(self.feedforward_norm(x))


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V): at each position, one for every token that may come next."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position = None if config.rotary else nn.Embedding(config.context_length, config.embed_dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = config.norm(config.embed_dim)
        self.head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        self.apply(self._initialize)
        for block in self.blocks:  # each block adds to the stream: smaller at first, so that the sum keeps its size
            for layer in (block.attention.output, block.feedforward.output):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * config.num_layers))

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)  # (B, T, C): the residual stream
        if self.position is not None:
            x = x + self.position(torch.arange(input_ids.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))  # (B, T, V)

    def loss(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy in nats per token: how surprised the model is by what really comes next."""
        return functional.cross_entropy(self(input_ids).flatten(0, 1), targets.flatten())  # (B T, V) and (B T)

    @torch.no_grad()
    def generate(self, ids: list[int], max_tokens: int, temperature: float, generator: torch.Generator) -> list[int]:
        """`ids` with up to `max_tokens` more, each sampled from the model's distribution and fed back to it."""
        ids = list(ids)
        for _ in range(max_tokens):
            context = torch.tensor([ids[-self.config.context_length :]])
            logits = self(context)[0, -1]  # (V)
            if temperature == 0:  # greedy: the most probable token
                ids.append(int(logits.argmax()))
                continue
            probabilities = (logits / temperature).softmax(dim=-1)
            ids.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        return ids


def batch(data: Tensor, config: Config, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random windows of the text (B, T), and the same windows one token later: the targets."""
    T = config.context_length
    starts = torch.randint(len(data) - T, (batch_size,), generator=generator).tolist()
    windows = torch.stack([data[start : start + T + 1] for start in starts])  # (B, T+1)
    return windows[:, :-1], windows[:, 1:]


def train(model: GPT, data: Tensor, steps: int, batch_size: int, learning_rate: float) -> None:
    """AdamW, with warm-up and a cosine decay to zero; the last tenth of the text is held back for validation."""
    generator = torch.Generator().manual_seed(0)
    split = len(data) * 9 // 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    warmup = max(1, steps // 20)
    for step in range(1, steps + 1):
        rate = min(step / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        loss = model.loss(*batch(data[:split], model.config, batch_size, generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % max(1, steps // 10) == 0:
            with torch.no_grad():
                held_back = model.loss(*batch(data[split:], model.config, batch_size, generator))
            print(f"step {step}: training loss {loss.item():.3f}, validation loss {held_back.item():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small GPT on a text file, and sample from it.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gpt2", action="store_true", help="GPT-2's choices instead of today's")
    parser.add_argument("--prompt", default="\n")
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy, higher is more random")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = GPT(Config.gpt2() if options.gpt2 else Config())
    data = torch.tensor(list(options.text.read_bytes()))
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, {len(data):,} bytes of text")
    train(model, data, options.steps, options.batch_size, options.learning_rate)
    prompt = list(options.prompt.encode())
    ids = model.generate(prompt, options.max_tokens, options.temperature, torch.Generator().manual_seed(0))
    print(bytes(ids).decode("utf-8", "replace"))


if __name__ == "__main__":
    main()
