"""A cell over time: layers, stacks, and the backends that run them."""
