"""What loss to expect before a run: a law fitted to recorded runs of the default model (`bench/law.py`, LOG.md)."""

from __future__ import annotations

import lzma
import math

SAMPLE_BYTES = 1 << 20
INTERVAL = 0.04
"""Eight of ten runs end this near to what was expected, as a share."""

FLOOR, SIZE, SIZE_EXPONENT, DATA, DATA_EXPONENT, REPEAT_HALF_LIFE = 0.45, 0.16, 0.35, 0.22, 0.55, 8.0


def compressed_bits_per_byte(text: bytes) -> float:
    """How far a general compressor brings a text, in bits a byte: what tells prose from tables and verse."""
    sample = text[:SAMPLE_BYTES]
    return 8 * len(lzma.compress(sample, preset=6)) / max(len(sample), 1)


def worth_bytes(num_bytes_seen: float, num_bytes_unique: float) -> float:
    """Bytes of fresh text that are worth as much as these, of which later epochs repeat the first (Muennighoff et al.
    2023, equation 5)."""
    repeats = max(num_bytes_seen / num_bytes_unique - 1, 0.0)
    fresh = min(num_bytes_seen, num_bytes_unique)
    return fresh * (1 + REPEAT_HALF_LIFE * (1 - math.exp(-repeats / REPEAT_HALF_LIFE)))


def expected_bits_per_byte(
    compressed: float, num_block_parameters: float, num_bytes_seen: float, num_bytes_unique: float
) -> float:
    """The validation bits a byte at the end of a run, as a share of what a compressor needs:
    floor + size term + data term (Hoffmann et al. 2022, equation 2)."""
    data = worth_bytes(num_bytes_seen, num_bytes_unique)
    share = FLOOR + SIZE * (1e6 / num_block_parameters) ** SIZE_EXPONENT + DATA * (1e7 / data) ** DATA_EXPONENT
    return compressed * share
