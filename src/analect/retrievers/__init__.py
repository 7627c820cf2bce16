"""Retrievers: a query → ranked hits. One file, one part."""
