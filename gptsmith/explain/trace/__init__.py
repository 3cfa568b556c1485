"""Where a text stands in what a model learnt from."""
