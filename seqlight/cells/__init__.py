"""The base classes of cells, and one cell per file. `seqlight/__init__.pyi` exports each cell."""
