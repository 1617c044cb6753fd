"""A run and its files: the loop, the run directory, checkpoints, signals, the terminal."""
