"""Collections that are searched while a person talks."""
