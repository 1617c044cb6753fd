"""Processes whose density and entropy are known exactly."""
