"""OpenAI's API: a file per endpoint."""
