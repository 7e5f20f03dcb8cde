"""Bidding strategies: one file each, listed in ``registry``.

A strategy of your own starts as a copy of ``tests/examples/own_strategy.py``.
"""
