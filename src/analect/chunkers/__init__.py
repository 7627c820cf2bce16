"""Chunkers: a document → chunks that fit the embedder. `markdown` and `whole` are the names for `analect.toml`.

What they share, in the order of the way: `blocks` (Markdown → blocks), `cutting` (blocks → leaves that fit, with
`prose`), `packing` (leaves → chunks); `costs` counts.
"""
