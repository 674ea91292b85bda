"""Checks of a cell's properties, grouped in one file per subject."""
