"""Market mathematics: clearing under uncertainty, prices and settlement."""
