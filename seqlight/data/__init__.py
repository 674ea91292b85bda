"""Data modules and loaders: from tasks and files to batches."""
