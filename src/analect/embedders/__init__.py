"""Embedders: texts → unit vectors. One file, one part."""
