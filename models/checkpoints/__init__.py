"""Checkpoint files: read anyone's, tell which network they hold, write our own."""
