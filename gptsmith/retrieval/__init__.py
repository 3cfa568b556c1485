"""A folder of one's own, searched while talking: passages of documents, their index, and how they are quoted."""
