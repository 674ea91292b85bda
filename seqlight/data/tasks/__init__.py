"""One synthetic task per file."""
