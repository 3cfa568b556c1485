"""A server: OpenAI's API and a chat page on one port, for the models of runs."""
