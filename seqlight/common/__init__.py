"""Code that all other packages use."""
