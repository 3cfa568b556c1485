"""Smaller models that compute nearly the same, and how nearly."""
