"""Where documents come from: files and URLs (`files`), and the records of tables (`records`)."""

DOCUMENT_LIMIT = 64 * 1024 * 1024
"""Bytes of a document, characters of a record. The longest novels have 10 MB: beyond this it is a dump, or an attack,
and reading it would take several times its size in memory."""
