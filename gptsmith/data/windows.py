"""Token streams to batches: the order of training, and the windows of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gptsmith.base.randomness import derived_seed
from gptsmith.data.shards import TokenStream

IGNORED = -100
"""The target of a position that is not scored."""


class Windows:
    """The training order: a pure function of the seed and the number of a sample.

    The stream of N tokens is a ring in which every token is predicted from the one before it. An epoch cuts the ring
    at a random place into ceil(N / T) windows of T targets, the last one shorter, and visits them in random order: so
    every token is a target exactly once per epoch, and windows begin elsewhere in every epoch.
    """

    def __init__(self, stream: TokenStream, context_length: int, seed: int) -> None:
        self.stream, self.context_length, self.seed = stream, context_length, seed
        self.num_windows = -(-len(stream) // context_length)
        """The number of samples in an epoch."""
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def batch(self, first_sample: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples `first_sample` and on, as input ids and targets, int64 (B, T). Padded targets are -100."""
        return _stacked([self._sample(first_sample + row) for row in range(batch_size)], self.context_length)

    def span(self, sample: int) -> tuple[int, int]:
        """The first target of a sample, and the place after its last: positions on the ring."""
        epoch, place = divmod(sample, self.num_windows)
        shift, order = self._order(epoch)
        first = int(order[place]) * self.context_length
        num_targets = min(self.context_length, len(self.stream) - first)
        return shift + first, shift + first + num_targets

    def _sample(self, sample: int) -> np.ndarray:
        start, stop = self.span(sample)
        return self.stream.slice(start - 1, stop, circular=True)

    def _order(self, epoch: int) -> tuple[int, np.ndarray]:
        """The place where the epoch cuts the ring, and the order of its windows."""
        if epoch not in self._orders:
            generator = np.random.Generator(np.random.PCG64(derived_seed(self.seed, "order", epoch)))
            # A batch may reach from one epoch into the next, so the one before is kept.
            self._orders = {key: value for key, value in self._orders.items() if key == epoch - 1}
            shift = int(generator.integers(len(self.stream)))
            self._orders[epoch] = shift, generator.permutation(self.num_windows)
        return self._orders[epoch]


def window_starts(num_tokens: int, context_length: int, max_tokens: int | None = None) -> list[int]:
    """Where the windows begin that score all tokens of a stream, or about `max_tokens` spread evenly over it."""
    num_windows = -(-num_tokens // context_length)
    wanted = num_windows if max_tokens is None else min(num_windows, max(1, max_tokens // context_length))
    return [number * num_windows // wanted * context_length for number in range(wanted)]


def evaluation_windows(
    stream: TokenStream, context_length: int, batch_size: int, max_tokens: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of input ids and targets, int64 (B, T), that score every token exactly once, in order.

    The first token is predicted from the stream's last, an EOS token. With `max_tokens` only about so many tokens are
    scored, in windows spread evenly over the stream. Windows are no longer than the stream.
    """
    starts = window_starts(len(stream), context_length, max_tokens)
    for first in range(0, len(starts), batch_size):
        samples = [
            stream.slice(start - 1, min(start + context_length, len(stream)), circular=True)
            for start in starts[first : first + batch_size]
        ]
        yield _stacked(samples, min(context_length, len(stream)))


def _stacked(samples: list[np.ndarray], context_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (B, T) of samples that each have the token before their first target, and their targets."""
    input_ids = np.zeros((len(samples), context_length), np.int64)
    targets = np.full((len(samples), context_length), IGNORED, np.int64)
    for row, sample in enumerate(samples):
        input_ids[row, : len(sample) - 1] = sample[:-1]
        targets[row, : len(sample) - 1] = sample[1:]
    return input_ids, targets
