"""From users' files to arrays."""
