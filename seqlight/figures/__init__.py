"""Figures for TensorBoard and notebooks."""
