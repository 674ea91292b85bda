"""Checks of a cell, one property per file."""
