"""Reports of runs and experiments: what they show, as web pages and as figures to print."""
