"""Marks: the judgements of people about answers, kept as data that models can learn from."""
