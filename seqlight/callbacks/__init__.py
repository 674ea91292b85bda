"""Callbacks, logger and profiler for a Trainer."""
