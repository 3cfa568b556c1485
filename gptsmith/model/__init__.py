"""The one trunk and the kinds that it is made of."""
