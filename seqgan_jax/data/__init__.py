"""Sequences in and out: files, layouts, splits, scaling."""
