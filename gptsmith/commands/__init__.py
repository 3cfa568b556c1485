"""One file a verb: reads its arguments, calls its workflow, shows the result."""
