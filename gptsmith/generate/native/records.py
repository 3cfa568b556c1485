"""What compiled code reads of a model and of a pass: numbers and addresses."""

from __future__ import annotations

import numpy

LAYER = numpy.dtype(
    [
        (name, numpy.int64)
        for name in ("keys", "values", "key_scales", "value_scales", "tables", "window", "rotary_dim", "sinks")
    ]
)
"""Where a layer's keys and values lie, in blocks, with the scales of those that are integers; for each row the address
of its sequence's table: the numbers of its blocks, in order; and the address of a score of each head that stands for
no value."""
NORM = numpy.dtype([("weight", numpy.int64), ("bias", numpy.int64), ("epsilon", numpy.float64)])
"""Addresses of float32; without a weight there is no norm, and one with a bias is LayerNorm."""
EXPERTS = ("num_experts", "num_chosen", "renormalizes")
SHAPE = numpy.dtype(
    [(name, numpy.int64) for name in (*("num_heads", "num_kv_heads", "head_dim", "num_rotated"), "slopes", *EXPERTS)]
    + [("scale", numpy.float64), ("score_cap", numpy.float64)]
)
"""Slopes: the address of what each head's scores lose with each token of distance. A cap of 0 is none. Of a mixture
of experts: how many there are, how many of them compute a row, and whether their weights add up to 1."""
PASS = numpy.dtype(
    [
        (name, numpy.int64)
        for name in (
            *("num_rows", "positions", "num_chunks", "chunks", "cosines", "sines"),
            *("stream", "query", "key", "value", "attended", "scores", "scores_stride"),
            *("block_size", "number_bytes", "block_stride", "head_stride"),
            *("counters", "num_barriers", "num_threads", "job"),
            *("router", "preferences", "chosen", "weights", "slots", "rows_of_slots", "ends"),
        )
    ]
)
"""Addresses of what a pass reads and writes, rows of float32; the chunks of rows that attend together, each with its
first row and the one after its last; the tokens of a block of the cache, the bytes of a number
in it (4 for float32, 1 for integers with a scale for each token and head), and its strides in bytes. Of experts: the
router's rows, which become probabilities, and the preferences of the choice; for each choice the expert, its weight and
its slot; for each slot its row; and for each expert where its slots end."""
