"""Model size, number of tokens, time and memory of a run, chosen and predicted before it starts."""
