"""Models in and out: other programs' folders and files, and certificates that a copy is the same model."""
