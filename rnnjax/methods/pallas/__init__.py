"""What the kernels for TPU and GPU share: a cell's step, their arrays, and the loops they run."""
