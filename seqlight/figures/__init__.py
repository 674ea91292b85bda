"""Figures for TensorBoard and notebooks, and their data."""
