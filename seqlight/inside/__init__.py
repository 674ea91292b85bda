"""What a cell does at every step of a sequence, as numbers and as a figure."""
