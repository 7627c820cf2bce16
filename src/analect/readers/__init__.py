"""Bytes of one format → a document in Markdown; one file, one format."""
