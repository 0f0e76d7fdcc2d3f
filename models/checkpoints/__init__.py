"""Checkpoint files: read any known format, match it to a network of the zoo, write our own."""
