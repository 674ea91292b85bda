"""One recurrent cell per file."""
