"""One file per verb, for the command line and for Python alike."""
