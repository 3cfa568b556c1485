"""Improve: from marks to a tuned model, which is judged blind before it is used."""
