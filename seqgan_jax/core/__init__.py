"""The algorithm, in pure JAX: no files, no terminal, no pandas."""
