"""Generation: one engine for everything that generates text."""
