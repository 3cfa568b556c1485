"""Training data as batches, in an order that is a pure function of the seed."""
