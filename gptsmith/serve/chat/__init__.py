"""From a conversation or a prompt, whatever API it came by, to a text and its parts."""
