"""Random streams: one seed, and an independent stream for every purpose."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *purpose: str) -> np.random.Generator:
    """Return the random stream of a purpose.

    Streams of different purposes are independent, and adding one changes no other.

    Parameters
    ----------
    seed : int
        Seed of the run.
    *purpose : str
        Names that identify the stream, such as ``"population", "case85"``.
    """
    key = tuple(zlib.crc32(name.encode()) for name in purpose)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
