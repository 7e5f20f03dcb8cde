"""Settings of all tests."""

import os

from hypothesis import settings

# The same examples in every run, so that a commit passes or fails once and for all;
# HYPOTHESIS=random looks for new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS", "same"))
