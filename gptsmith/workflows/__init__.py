"""One file a verb: each wires the rooms together. Python callers and the commands call these."""
