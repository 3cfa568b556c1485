"""OpenAI's API: a file per endpoint, and what the endpoints share."""
