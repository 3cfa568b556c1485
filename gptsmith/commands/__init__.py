"""One file per verb: its options, one call, the output."""
