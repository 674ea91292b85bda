"""From a cell to layers over time."""
