"""Indexes: search in process, rebuilt from a store at any time. One file, one part."""
