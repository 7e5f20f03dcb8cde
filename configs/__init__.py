"""Scenario configurations: the schema, the shipped scenarios, and how they are loaded."""
