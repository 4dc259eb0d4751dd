"""Trajectory pool: read, validate, measure, tier and rank the episodes of the configured datasets."""
