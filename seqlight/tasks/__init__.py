"""The base class of tasks, and one synthetic task per file. `seqlight/__init__.pyi` exports each task."""
