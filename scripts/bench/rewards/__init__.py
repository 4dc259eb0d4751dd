"""Reward models that benchmarks compare ours with."""
