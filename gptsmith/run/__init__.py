"""The run folder: the noun that every verb takes."""
