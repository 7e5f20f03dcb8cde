"""Checks of a bid: is it well-formed, and possible with what the peer registered?"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from market.bids import (
    DispatchableOffer,
    FlexibleOffer,
    RecourseOffer,
    RenewableOffer,
    StorageOffer,
)
from market.price_blocks import PriceBlocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from market.bids import Bid, Rating

    Series = NDArray[np.float64]

TOLERANCE = 1e-6
"""Rounding allowed in a bid. [kW, kWh]"""


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
    found = []
    if not isinstance(bid.step, int | np.integer) or bid.step != step:
        found.append(f"step {bid.step!r:.40} is not the current step {step}")
    if not isinstance(bid.network, str) or bid.network != network:
        found.append(f"network {bid.network!r:.40} is not the peer's network {network!r}")
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


def _numbers(bid: Bid) -> Iterator[tuple[str, object]]:
    """Every numeric field of a bid and of its offers, by dotted name."""
    offers = [(o, f"{name}.") for name, o in bid.offers if isinstance(o, _KINDS[name])]
    for holder, prefix in [(bid, ""), *offers]:
        for field in fields(holder):  # type: ignore[arg-type]
            if field.name.endswith(_NUMERIC):
                yield prefix + field.name, getattr(holder, field.name)


_NUMERIC = ("_kw", "_kvar", "_kwh", "_h", "_kw2h", "_share", "_efficiency")
_SIGNED = ("recourse.up_eur_per_kwh", "recourse.down_eur_per_kwh", "load_kvar")


def _shape_faults(bid: Bid, n_steps: int) -> Iterator[str]:
    """Offers of another kind, and fields that are not finite numbers of the right shape."""
    for name, offer in bid.offers:
        if not isinstance(offer, _KINDS[name]):
            yield f"{name} is not a {_KINDS[name].__name__}: {offer!r:.40}"
    for name, value in _numbers(bid):
        expected = (n_steps,) if name in _SERIES else ()
        yield from _number_faults(name, value, [expected])


def _number_faults(name: str, value: object, shapes: Sequence[tuple[int, ...]]) -> Iterator[str]:
    """Why a value is no array of finite numbers, or of one of the shapes; at most one reason."""
    array = _as_numbers(value)
    if array is None:
        yield f"{name} is not a number: {value!r:.40}"
    elif shapes[0] and not isinstance(value, np.ndarray):
        yield f"{name} is not an array: {value!r:.40}"
    elif array.shape not in shapes:
        expected = " to ".join(map(str, dict.fromkeys((shapes[0], shapes[-1]))))
        yield f"{name} has shape {array.shape}, expected {expected}"
    elif not np.isfinite(array).all():
        yield f"{name} is not finite"
    elif name not in _SIGNED and (array < 0).any():
        yield f"{name} is negative: {array.min():g}"


def _format_faults(unit: object, n_blocks: int) -> Iterator[str]:
    """A cost curve where blocks are asked for, the other way round, and malformed blocks."""
    if not isinstance(unit, DispatchableOffer):
        return
    blocks = unit.blocks
    if not n_blocks:
        if blocks is not None:
            yield f"dispatchable.blocks is {blocks!r:.40}, expected None: cost curves are bid"
        return
    if not isinstance(blocks, PriceBlocks):
        yield f"dispatchable.blocks is {blocks!r:.40}, expected 1 to {n_blocks} PriceBlocks"
        return
    for name in ("cost_eur_per_kwh", "cost_eur_per_kw2h"):
        if np.any(_as_numbers(getattr(unit, name))):
            yield f"dispatchable.{name} is {getattr(unit, name)!r:.40} beside blocks, expected 0"
    shapes = [(n,) for n in range(1, n_blocks + 1)]
    for field in fields(blocks):
        value = getattr(blocks, field.name)
        found = list(_number_faults(f"dispatchable.blocks.{field.name}", value, shapes))
        yield from found
        if found:
            return
        shapes = [value.shape]  # as many prices as quantities


def _as_numbers(value: object) -> Series | None:
    """Return real numbers as an array, and None for anything else."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "iuf" else None


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
    total = bid.load_kw
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
        ]
    limited.append(("load_kw", total.max(), rating.connection_kw))
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
        total = float(blocks.quantity_kw.sum())
    if not abs(total - p_max_kw) <= TOLERANCE:
        yield f"dispatchable.blocks.quantity_kw sums to {total:g}, expected p_max_kw {p_max_kw:g}"
