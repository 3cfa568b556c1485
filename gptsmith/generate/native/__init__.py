"""A decoder in compiled code, by numba: one call a step for all sequences (extra `native`).

It computes what the model's own modules do, whose plain twin it is checked against when it starts, to the precision of
float32: inputs of integer weights are quantized to 15 bits and a sign. Models that it does not know, and processors
that compile it otherwise, stay with the modules.
"""
