"""Data: texts that people bring, seen as a model would read them, and mended by hand."""
