"""Reasons for which fields of chat completions and responses are refused."""

from __future__ import annotations

NO_STORE = "nothing that is sent is stored here: leave it out, or set it to false"
NO_MODERATION = "no model here judges what is said: leave it out, and have another program judge what comes back"
