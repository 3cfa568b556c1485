"""What each endpoint accepts: OpenAI's fields and a few of our own, a file per endpoint."""
