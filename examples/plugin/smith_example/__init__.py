"""Kinds for gptsmith from a package of their own, found by the entry points in pyproject.toml."""
