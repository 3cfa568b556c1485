"""Anthropic's Messages API, a file per job."""
