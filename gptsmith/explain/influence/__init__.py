"""Which of the passages that a model learnt from made it more likely to write a text."""
