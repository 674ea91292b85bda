"""Checkpoint files, run folders and resuming. `contents.py` lists what a checkpoint holds."""
