"""Care for texts before a model learns from them: findings, redaction, what is left out, duplicates, canaries."""
