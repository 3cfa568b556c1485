"""Attention, norms, rotary embedding, int8 products and the head's cross-entropy for CPUs, each with a plain twin."""
