"""Code that every other package uses."""
