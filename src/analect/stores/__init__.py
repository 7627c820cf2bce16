"""Stores: keep documents, chunks and vectors durably. One file, one part."""
