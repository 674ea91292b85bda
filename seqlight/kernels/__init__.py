"""From a cell's `update` to machine code: trace it, print it as C++, build it, call it."""
