"""The only unit conversions of the package."""

from __future__ import annotations

import math

S_BASE_KVA = 1000.0
"""Base power of every per-unit quantity. [kVA]"""

KW_PER_MW = 1000.0


def impedance_base_ohm(vn_kv: float) -> float:
    """Return the base impedance at a rated voltage. [ohm]"""
    return vn_kv**2 * 1000.0 / S_BASE_KVA


def current_base_ka(vn_kv: float) -> float:
    """Return the base current at a rated line-to-line voltage. [kA]"""
    return S_BASE_KVA / 1000.0 / (math.sqrt(3) * vn_kv)
