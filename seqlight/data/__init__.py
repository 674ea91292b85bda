"""From a task to batches."""
