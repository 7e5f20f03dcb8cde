"""Checks of a bid: is it well-formed, and possible with what the peer registered?"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from market.bids import (
    Bid,
    DispatchableOffer,
    FlexibleOffer,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)
from market.price_blocks import PriceBlocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from market.bids import Rating

    Series = NDArray[np.float64]

TOLERANCE = 1e-6
"""Rounding allowed in a bid. [kW, kWh]"""
LARGEST_PRICE = 1_000.0
"""Highest price in a bid, far above what any served kWh is worth, so that one bid cannot drown the
others in the rounding errors of the solver. [EUR/kWh, EUR/(kW h), EUR/(kW2 h), EUR/(kWh h)]"""
LONGEST_BACKLOG_H = 8_760.0
"""Largest energy owed by a flexible load, in hours of its registered power. [h]"""


def faults(
    bid: Bid, rating: Rating, step: int, n_steps: int, network: str, *, n_blocks: int = 0
) -> list[str]:
    """Check a bid against the registration of its peer.

    Parameters
    ----------
    bid : Bid
        What was submitted.
    rating : Rating
        What the peer registered.
    step, n_steps : int
        Current step and length of the window.
    network : str
        The peer's network.
    n_blocks : int
        Largest number of price blocks of an offer; zero where units bid cost curves.

    Returns
    -------
    list of str
        Every fault found, each naming the field, the value and what is allowed; empty for a
        valid bid.
    """
    # A subclass could tell something else the next time it is asked.
    if type(bid) is not Bid:
        return [f"not a Bid: {shown(bid)}"]
    found = []
    if type(bid.step) not in _WHOLE or bid.step != step:
        found.append(f"step {shown(bid.step)} is not the current step {step}")
    if not isinstance(bid.network, str) or bid.network != network:
        found.append(f"network {shown(bid.network)} is not the peer's network {network!r}")
    shaped = [*_shape_faults(bid, n_steps), *_format_faults(bid.dispatchable, n_blocks)]
    if shaped:
        return found + shaped
    return found + list(_value_faults(bid, rating))


_KINDS = {
    "renewable": RenewableOffer,
    "dispatchable": DispatchableOffer,
    "storage": StorageOffer,
    "flexible": FlexibleOffer,
    "recourse": RecourseOffer,
}
_NUMERIC = ("_kw", "_kvar", "_kwh", "_h", "_kw2h", "_share", "_efficiency")
_FIELDS: dict[type, dict[str, str]] = {
    kind: {
        prefix + field.name: field.name for field in fields(kind) if field.name.endswith(_NUMERIC)
    }
    for kind, prefix in [(Bid, ""), *((kind, f"{name}.") for name, kind in _KINDS.items())]
}
"""Numeric fields of a bid and of every kind of offer, by dotted name."""
_FLOAT = np.dtype(np.float64)
_SIGNED = ("recourse.up_eur_per_kwh", "recourse.down_eur_per_kwh", "load_kvar")


def _shape_faults(bid: Bid, n_steps: int) -> Iterator[str]:
    """Offers of another kind, and fields that are not finite numbers of the right shape."""
    holders: list[object] = [bid]
    for name, offer in bid.offers:
        if type(offer) is _KINDS[name]:
            holders.append(offer)
        else:
            yield f"{name} is not a {_KINDS[name].__name__}: {shown(offer)}"
    values = {
        name: getattr(holder, field)
        for holder in holders
        for name, field in _FIELDS[type(holder)].items()
    }
    if _are_usual(values, n_steps):
        return
    for name, value in values.items():
        yield from _number_faults(name, value, [(n_steps,) if name in _SERIES else ()])


def _are_usual(values: Mapping[str, object], n_steps: int) -> bool:
    """Whether all values are right whatever they stand for; those of nearly all bids are."""
    series = []
    for name, value in values.items():
        if name in _SERIES:
            if type(value) is not np.ndarray or value.dtype != _FLOAT or value.shape != (n_steps,):
                return False
            series.append(np.abs(value) if name in _SIGNED else value)
        else:
            lowest = -LARGEST_PRICE if name in _SIGNED else 0.0
            if not (type(value) is float and lowest <= value <= LARGEST_PRICE):
                return False
    together = np.concatenate(series)
    return bool(together.min() >= 0.0 and together.max() <= LARGEST_PRICE)


def _number_faults(name: str, value: object, shapes: Sequence[tuple[int, ...]]) -> Iterator[str]:
    """Why a value is no array of finite numbers, or of one of the shapes; at most one reason."""
    is_series = shapes[0] != ()
    if is_series and type(value) is not np.ndarray:
        yield f"{name} is not an array: {shown(value)}"
        return
    if not is_series and not _is_number(value):
        if isinstance(value, np.ndarray) and value.shape:
            yield f"{name} has shape {value.shape}, expected ()"
        else:
            yield f"{name} is not a number: {shown(value)}"
        return
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        yield f"{name} is not a number: {shown(value)}"
    elif array.dtype.itemsize > _LARGEST_ITEM:
        yield f"{name} is wider than 64 bits: {shown(value)}"
    elif array.shape not in shapes:
        expected = " to ".join(map(str, dict.fromkeys((shapes[0], shapes[-1]))))
        yield f"{name} has shape {array.shape}, expected {expected}"
    elif not np.isfinite(array).all():
        yield f"{name} is not finite"
    elif name not in _SIGNED and (array < 0).any():
        yield f"{name} is negative: {array.min():g}"
    elif "_eur_per_" in name and np.abs(array.astype(float)).max() > LARGEST_PRICE:
        yield f"{name} {np.abs(array.astype(float)).max():g} exceeds the allowed {LARGEST_PRICE:g}"


def _format_faults(unit: object, n_blocks: int) -> Iterator[str]:
    """A cost curve where blocks are asked for, the other way round, and malformed blocks."""
    if type(unit) is not DispatchableOffer:
        return
    blocks = unit.blocks
    if not n_blocks:
        if blocks is not None:
            yield f"dispatchable.blocks is {shown(blocks)}, expected None: cost curves are bid"
        return
    if type(blocks) is not PriceBlocks:
        yield f"dispatchable.blocks is {shown(blocks)}, expected 1 to {n_blocks} PriceBlocks"
        return
    for name in ("cost_eur_per_kwh", "cost_eur_per_kw2h"):
        cost = getattr(unit, name)
        if _is_number(cost) and cost:
            yield f"dispatchable.{name} is {shown(cost)} beside blocks, expected 0"
    shapes = [(n,) for n in range(1, n_blocks + 1)]
    for field in fields(blocks):
        value = getattr(blocks, field.name)
        found = list(_number_faults(f"dispatchable.blocks.{field.name}", value, shapes))
        yield from found
        if found:
            return
        shapes = [value.shape]  # as many prices as quantities


def _is_number(value: object) -> bool:
    """Whether a value is a plain or numpy number, no truth value, array or look-alike."""
    return type(value) in _PLAIN


_WHOLE = {int, *(np.dtype(code).type for code in "bhilqBHILQ")}
_PLAIN = {float, *_WHOLE, *(np.dtype(code).type for code in "efd")}
_LARGEST_ITEM = 8
"""Wider numbers may be finite and yet become infinite on the way. [B]"""


def shown(value: object) -> str:
    """Show the beginning of whatever stands in a bid; not everything can be shown."""
    try:
        return f"{value!r:.40}"
    except Exception:  # an object may raise anything, a number have too many digits
        return f"something of type {type(value).__name__:.40}"


_SERIES = (
    "load_kw",
    "load_kvar",
    "buy_limit_eur_per_kwh",
    "sell_limit_eur_per_kwh",
    "renewable.available_kw",
    "flexible.baseline_kw",
)


def _value_faults(bid: Bid, rating: Rating) -> Iterator[str]:
    """Values beyond what the peer registered, or that contradict each other."""
    limited = [("q_max_kvar", bid.q_max_kvar, rating.reactive_kvar)]
    # Small integers would run over in a sum.
    total = bid.load_kw.astype(float)
    if bid.renewable is not None:
        limited.append(
            ("renewable.available_kw", bid.renewable.available_kw.max(), rating.renewable_kw)
        )
    if bid.dispatchable is not None:
        unit = bid.dispatchable
        limited.append(("dispatchable.p_max_kw", unit.p_max_kw, rating.dispatchable_kw))
        if unit.blocks is not None:
            yield from _block_faults(unit.blocks, unit.p_max_kw)
    if bid.storage is not None:
        storage = bid.storage
        limited += [
            ("storage.charge_max_kw", storage.charge_max_kw, rating.storage_kw),
            ("storage.discharge_max_kw", storage.discharge_max_kw, rating.storage_kw),
            ("storage.energy_max_kwh", storage.energy_max_kwh, rating.storage_kwh),
        ]
        low, now, high = storage.energy_min_kwh, storage.energy_kwh, storage.energy_max_kwh
        if not low - TOLERANCE <= now <= high + TOLERANCE:
            yield f"storage.energy_kwh {now:g} is outside [{low:g}, {high:g}]"
        for side in ("charge_efficiency", "discharge_efficiency"):
            if getattr(storage, side) != getattr(rating, side):
                yield (
                    f"storage.{side} {getattr(storage, side):g} differs from the registered "
                    f"{getattr(rating, side):g}"
                )
    if bid.flexible is not None:
        flexible = bid.flexible
        total = total + flexible.baseline_kw
        limited += [
            ("flexible.served_max_kw", flexible.served_max_kw, rating.flexible_kw),
            ("flexible.baseline_kw", flexible.baseline_kw.max(), flexible.served_max_kw),
            ("flexible.curtailable_share", flexible.curtailable_share, 1.0),
            ("flexible.backlog_kwh", flexible.backlog_kwh, flexible.backlog_max_kwh),
            (
                "flexible.backlog_max_kwh",
                flexible.backlog_max_kwh,
                LONGEST_BACKLOG_H * rating.flexible_kw,
            ),
        ]
    limited += [
        ("load_kw", total.max(), rating.connection_kw),
        ("load_kvar", np.abs(bid.load_kvar.astype(float)).max(), rating.connection_kw),
    ]
    for name, value, allowed in limited:
        if value > allowed + TOLERANCE:
            yield f"{name} {value:g} exceeds the allowed {allowed:g}"


def _block_faults(blocks: PriceBlocks, p_max_kw: float) -> Iterator[str]:
    """Prices that fall, and blocks that are not the whole unit."""
    price = blocks.price_eur_per_kwh
    falls = np.flatnonzero(price[1:] < price[:-1])
    if len(falls):
        before, after = price[falls[0] : falls[0] + 2]
        yield (
            f"dispatchable.blocks.price_eur_per_kwh falls from {before:g} to {after:g}, "
            "expected prices that do not fall"
        )
    with np.errstate(over="ignore"):
        total = float(blocks.quantity_kw.astype(float).sum())
    if not abs(total - p_max_kw) <= TOLERANCE:
        yield f"dispatchable.blocks.quantity_kw sums to {total:g}, expected p_max_kw {p_max_kw:g}"
