"""Bidding strategies: one file each, listed in ``registry``."""
