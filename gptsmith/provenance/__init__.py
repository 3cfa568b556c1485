"""The texts that a model learnt from, back to its base: indexed, with the file and the place of each token."""
