"""Files to documents, documents to token shards, token shards to batches."""
