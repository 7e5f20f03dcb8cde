"""The browser of the tests: the one that CHROMIUM names, or that of the system."""

import os
import shutil

BROWSER = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Where there is no sandbox, as for root in a container, Chromium does not start with one.
ARGUMENTS = [] if getattr(os, "geteuid", lambda: 1)() else ["--no-sandbox"]
LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
"""How addresses on this machine begin."""
