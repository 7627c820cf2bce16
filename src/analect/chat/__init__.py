"""Chat: what turns hits into answers. One file, one part."""
