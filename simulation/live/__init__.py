"""The live page: a simulation watched as it goes, or a finished run step by step."""
