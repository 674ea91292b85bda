"""Synthetic tasks, one per file."""
