"""The tables of the live page and the legend of its maps, as HTML."""

from __future__ import annotations

import html
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from simulation.live.feeder_maps import CLASSES, MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from simulation.live.views import Moment

NONE = "–"
"""Stands where there is no value."""


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; all but the first column are numbers, aligned to the right."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return (
        f"<table class='live'><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{row(heads, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    )


def number(value: float, digits: int, *, plus: bool = False) -> str:
    """Write a number; rounding errors around zero as zero."""
    if not np.isfinite(value):
        return NONE
    rounded = round(float(value), digits) + 0.0  # no minus zero
    return f"{rounded:+,.{digits}f}" if plus and rounded else f"{rounded:,.{digits}f}"


def _rows(frame: pd.DataFrame) -> Iterator[SimpleNamespace]:
    """Rows by column."""
    columns = [str(name) for name in frame.columns]
    for row in frame.itertuples(index=False, name=None):
        yield SimpleNamespace(**dict(zip(columns, row, strict=True)))


def legend() -> str:
    """Explain the signs of the maps."""
    bar = "<i style='display:inline-block;width:24px;vertical-align:middle;{}'></i>"
    signs = [
        (bar.format(f"border-top:{width:g}px solid {colour}"), words)
        for words, colour, width, _ in CLASSES
    ]
    signs += [
        (f"<b style='color:{colour}'>{sign}</b>", words) for sign, colour, words in MARKS.values()
    ]
    items = "".join(f"<li>{sign} {words}</li>" for sign, words in signs)
    return f"<ul class='live-legend' aria-label='Legend of the maps'>{items}</ul>"


def states_table(states: pd.DataFrame) -> str:
    """Show the state of every network, see :func:`simulation.live.views.states`."""
    heads = (
        "network",
        "voltage [p.u.]",
        "largest line loading [%]",
        "from upstream [kW]",
        "losses [kW]",
        "sent to other networks [kW]",
        "certified violation probability [%]",
        "limit binds",
        "limits violated",
    )
    rows = [
        (
            str(network),
            f"{number(s.lowest_pu, 3)} to {number(s.highest_pu, 3)}",
            number(s.loading_percent, 0),
            number(s.from_upstream_kw, 0),
            number(s.losses_kw, 1),
            number(s.sent_kw, 1),
            number(100 * s.certified, 2),
            "yes" if s.binding else "no",
            str(s.n_violations),
        )
        for network, s in states.iterrows()
    ]
    return table("Networks in this step", heads, rows)


def flows_table(flows: pd.DataFrame) -> str:
    """Show the trades of a step, see :func:`simulation.live.views.flows`."""
    heads = ("from → to", "energy [kWh]", "trades", "mean price [EUR/kWh]")
    rows = [
        (
            f"{f.seller} → {f.buyer}" if f.seller != f.buyer else f"within {f.seller}",
            number(f.energy_kwh, 1),
            f"{f.n_trades:,}",
            number(f.price_eur_per_kwh, 4),
        )
        for f in _rows(flows)
    ]
    return table("Trades between peers in this step", heads, rows or [("none", NONE, "0", NONE)])


def bids_table(moment: Moment, peer: str) -> str:
    """Show the last bid of a peer, as far as it concerns its first step."""
    bids = moment.tables["bids"]
    of = f"of step {int(bids.step.iloc[0]) + 1}" if len(bids) else ""
    own = bids[bids.peer_id == peer]
    rows = [
        (
            str(b.offer).replace("_", " "),
            number(b.quantity_kw, 2),
            number(b.price_eur_per_kwh, 4),
            "yes" if b.accepted else f"no: {b.reason}",
        )
        for b in _rows(own)
    ]
    heads = ("offer", "quantity [kW]", "price [EUR/kWh]", "accepted")
    return table(f"Bid in the clearing {of}".strip(), heads, rows)


def account_table(account: pd.Series) -> str:
    """Show what a peer received so far."""
    kept = account[account.abs() >= 5e-5]
    rows = [(str(item).replace("_", " "), number(eur, 4, plus=True)) for item, eur in kept.items()]
    rows.append(("all", number(float(account.sum()), 4, plus=True)))
    return table("Account so far (received +, paid −)", ("item", "amount [EUR]"), rows)
