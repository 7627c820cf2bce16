"""analect: passages found, and answers that can be checked."""
