"""Users' files, read into arrays."""
