"""The user's own images: a folder per class, or a table."""
