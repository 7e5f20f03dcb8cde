"""Orchestration: the co-simulation model, its data, its records and its commands."""
