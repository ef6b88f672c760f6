"""Timings against peers in one process: compile and run apart, minimum of repeats."""
