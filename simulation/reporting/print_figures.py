"""The main figures of a run as they are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from simulation.palette import BALANCE, BLACK, BLUE, DIVERGING, GREEN, GREY, ORANGE, PINK, RED, SKY
from simulation.reporting import flow_views, market_views, risk_views
from simulation.reporting.feeder_layout import connections
from simulation.reporting.flow_views import drawn
from simulation.reporting.grid_figures import reach
from simulation.reporting.grid_views import voltage_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from simulation.reporting.grid_views import Feeder
    from simulation.reporting.run_data import RunData

WIDTH = 7.1
"""Width of two columns of a paper. [inch]"""
_VOLTAGE = LinearSegmentedColormap.from_list("voltage", DIVERGING)
_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, GREY)


def feeder_maps(_: RunData, feeders: Sequence[Feeder]) -> Figure | None:
    """Maps of the networks, buses coloured by their worst voltage."""
    heights = [len({row for _, row in fed.place.values()}) + 2 for fed in feeders]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.17 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(feeders), 1, squeeze=False, height_ratios=heights)[:, 0]
    span = max(reach(fed.buses) for fed in feeders)
    for ax, fed in zip(axes, feeders, strict=True):
        ax.plot(*connections(fed.parent, fed.place), color=GREY, linewidth=0.8, zorder=1)
        x, y = np.array(list(fed.place.values())).T
        dots = ax.scatter(
            x,
            y,
            c=fed.buses.vm_pu,
            cmap=_VOLTAGE,
            vmin=1 - span,
            vmax=1 + span,
            s=22,
            zorder=3,
            edgecolors="#555555",
            linewidths=0.5,
            plotnonfinite=False,
        )
        hit = (fed.buses.n_violations > 0).to_numpy()
        ax.scatter(
            x[hit],
            y[hit],
            s=70,
            facecolors="none",
            edgecolors=BLACK,
            linewidths=1.2,
            zorder=2,
            label="voltage violated",
        )
        source = np.array([bus not in fed.parent for bus in fed.place])
        ax.scatter(
            x[source], y[source], marker="s", s=36, color=BLACK, zorder=3, label="substation"
        )
        ax.set_title(f"network {fed.network}", loc="left")
        ax.set_yticks([])
        ax.spines.left.set_visible(False)
        ax.grid(visible=False)
        ax.set_xlabel("distance from the substation [lines]")
    axes[0].legend(loc="upper left", frameon=False)
    figure.colorbar(dots, ax=list(axes), label="worst voltage [p.u.]", shrink=0.8, aspect=30)
    return figure


def voltage_maps(run: RunData, feeders: Sequence[Feeder]) -> Figure | None:
    """Voltages over time and bus."""
    figure, axes = _rows(len(feeders), 2.0)
    span = max(reach(fed.buses) for fed in feeders)
    for ax, fed in zip(axes, feeders, strict=True):
        grid = voltage_grid(run, fed)
        step = np.timedelta64(round(3600 * grid.hours), "s")
        times = grid.time.tz_localize(None).to_numpy()
        edges = np.append(times, times[-1] + step)
        image = ax.pcolormesh(
            edges,
            np.arange(len(grid.bus) + 1),
            grid.vm_pu,
            cmap=_VOLTAGE,
            vmin=1 - span,
            vmax=1 + span,
            rasterized=True,
        )
        ax.invert_yaxis()
        ax.grid(visible=False)
        ax.set_ylabel("bus [place in the tree]")
        ax.set_title(f"network {fed.network}", loc="left")
    figure.colorbar(image, ax=list(axes), label="voltage [p.u.]", aspect=30)
    return _dated(figure, axes)


def energy_balance(run: RunData, feeders: Sequence[Feeder]) -> Figure | None:
    """Sources and uses of energy."""
    figure, axes = _rows(len(feeders), 2.0)
    for ax, fed in zip(axes, feeders, strict=True):
        table = drawn(run, flow_views.energy_balance(run, fed.network)).fillna(0.0)
        for sign in (1, -1):
            names = [name for name in table if sign * table[name].sum() > 0]
            ax.stackplot(
                _naive(table),
                *(table[name] for name in names),
                labels=names,
                colors=[BALANCE[str(name)] for name in names],
                linewidth=0,
                step="post",
            )
        _power_axis(ax, fed.network)
    return _dated(figure, axes, legend=True)


def _power_axis(ax: Axes, network: str) -> None:
    """Name the axis of a network's power, with a line at zero."""
    ax.axhline(0, color=BLACK, linewidth=0.6)
    ax.set_ylabel("power [kW]")
    ax.set_title(f"network {network}", loc="left")


def trades(run: RunData, feeders: Sequence[Feeder]) -> Figure | None:
    """Power traded within and between networks."""
    if run.tables["trades"].empty:
        return None
    figure, axes = _rows(len(feeders), 1.7)
    names = {"within": ("among own peers", BLUE), "sold": ("sold to other networks", GREEN)}
    for ax, fed in zip(axes, feeders, strict=True):
        table = drawn(run, flow_views.traded_power(run, fed.network))
        ax.stackplot(
            _naive(table),
            *(table[name] for name in names),
            linewidth=0,
            step="post",
            labels=[text for text, _ in names.values()],
            colors=[c for _, c in names.values()],
        )
        ax.fill_between(
            _naive(table),
            table.bought,
            color=ORANGE,
            step="post",
            linewidth=0,
            label="bought from other networks",
        )
        _power_axis(ax, fed.network)
    return _dated(figure, axes, legend=True)


def prices(run: RunData, feeders: Sequence[Feeder]) -> Figure | None:
    """Nodal prices and their components."""
    tables = {fed.network: market_views.nodal_prices(run, fed.network) for fed in feeders}
    known = {name: drawn(run, table) for name, table in tables.items() if table is not None}
    if not known:
        return None
    figure, axes = _rows(2 * len(known), 1.5)
    for (network, table), upper, lower in zip(known.items(), axes[::2], axes[1::2], strict=True):
        _band(upper, table, "dlmp", BLUE, "nodal price")
        upper.plot(_naive(table), table.energy_mean, ":", color=ORANGE, label="of it for energy")
        for part, colour in (("loss", GREEN), ("voltage", PINK), ("risk", RED)):
            if table[f"{part}_mean"].notna().any():
                _band(lower, table, part, colour, f"for {part}")
        upper.set_ylabel("price\n[EUR/kWh]")
        lower.set_ylabel("component\n[EUR/kWh]")
        upper.set_title(f"network {network}", loc="left")
    return _dated(figure, axes, legend=True)


def violation(run: RunData, _: Sequence[Feeder]) -> Figure | None:
    """Delivered violation rates against the promise."""
    rates = risk_views.delivered_rates(run)
    rates = rates[rates.rate.notna()]
    names = list(dict.fromkeys(rates.network))
    figure = Figure(figsize=(WIDTH, 1.2 + 0.5 * len(names)), layout="constrained")
    ax = figure.subplots()
    styles = {
        ("binding", "replay"): (BLUE, "o"),
        ("all", "replay"): (SKY, "s"),
        ("binding", "Monte Carlo"): (RED, "D"),
        ("all", "Monte Carlo"): (ORANGE, "^"),
    }
    for k, ((scope, source), (colour, marker)) in enumerate(styles.items()):
        rows = rates[(rates.scope == scope) & (rates.source == source)]
        if len(rows):
            ax.errorbar(
                rows.rate,
                [names.index(name) + 0.18 * (k - 1.5) for name in rows.network],
                xerr=np.clip([rows.rate - rows.low, rows.high - rows.rate], 0, None),
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=1.0,
                clip_on=False,
                label=f"{source}, {scope} network-steps",
            )
    promised = 100 * run.summary["promised_violation_probability"]
    ax.axvline(promised, color=BLACK, linestyle="--", linewidth=1, label="promised at most")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("violated in AC [%]")
    return _legend(figure, [ax], 3)


def certificates(run: RunData, _: Sequence[Feeder]) -> Figure | None:
    """Certificates of the binding network-steps."""
    found = risk_views.certificates(run)
    found = found[found.certificate.notna()]
    if found.empty:
        return None
    figure, axes = _rows(1, 2.4)
    for network, colour in zip(dict.fromkeys(found.network), _COLOURS, strict=False):
        rows = found[found.network == network]
        axes[0].plot(
            _naive(rows.set_index("time")), rows.certificate, ".", color=colour, label=network
        )
    hit = found[found.violated]
    axes[0].plot(
        _naive(hit.set_index("time")),
        hit.certificate,
        "x",
        color=RED,
        markersize=8,
        label="violated in AC",
    )
    promised = 100 * run.summary["promised_violation_probability"]
    axes[0].axhline(promised, color=BLACK, linestyle="--", linewidth=1, label="promised at most")
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("certified violation\nprobability [%]")
    return _dated(figure, axes, legend=True)


def money(run: RunData, _: Sequence[Feeder]) -> Figure | None:
    """What each kind of account received, net."""
    received = market_views.received_by_kind(run)
    if received.empty:
        return None
    net = received.sum()
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.bar([str(kind) for kind in net.index], net, color=[GREEN if v > 0 else RED for v in net])
    ax.axhline(0, color=BLACK, linewidth=0.6)
    for place, value in enumerate(net):
        ax.annotate(
            f"{value:z,.0f}",
            (place, value),
            ha="center",
            va="bottom" if value >= 0 else "top",
            xytext=(0, 2 if value >= 0 else -2),
            textcoords="offset points",
            fontsize=8,
        )
    ax.margins(y=0.15)
    ax.set_ylabel("received over the run [EUR]")
    ax.set_xlabel("account [kind]")
    return figure


def batteries(run: RunData, feeders: Sequence[Feeder]) -> Figure | None:
    """States of charge."""
    tables = {fed.network: flow_views.batteries(run, fed.network) for fed in feeders}
    known = {name: drawn(run, table) for name, table in tables.items() if table is not None}
    if not known:
        return None
    figure, axes = _rows(len(known), 1.6)
    for ax, (network, table) in zip(axes, known.items(), strict=True):
        ax.fill_between(
            _naive(table),
            table.low,
            table.high,
            color=SKY,
            alpha=0.4,
            linewidth=0,
            label="emptiest to fullest battery",
        )
        ax.plot(_naive(table), table["mean"], color=BLUE, label="all batteries together")
        ax.set_ylim(0, 101)
        ax.set_ylabel("stored energy\n[% of capacity]")
        ax.set_title(f"network {network}", loc="left")
    return _dated(figure, axes, legend=True)


def _rows(n: int, height: float) -> tuple[Figure, Any]:
    """Panels below one another over the same time."""
    figure = Figure(figsize=(WIDTH, 0.7 + height * n), layout="constrained")
    return figure, figure.subplots(n, 1, sharex=True, squeeze=False)[:, 0]


def _naive(table: pd.DataFrame) -> Any:
    """Times without their zone, which is UTC."""
    return table.index.tz_localize(None)  # type: ignore[attr-defined]


def _band(ax: Axes, table: pd.DataFrame, name: str, colour: str, text: str) -> None:
    ax.fill_between(
        _naive(table),
        table[f"{name}_low"],
        table[f"{name}_high"],
        color=colour,
        alpha=0.22,
        linewidth=0,
    )
    ax.plot(_naive(table), table[f"{name}_mean"], color=colour, label=text)


def _dated(figure: Figure, axes: Sequence[Axes], *, legend: bool = False) -> Figure:
    """Finish panels over time."""
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes[-1].set_xlabel("time [UTC]")
    axes[-1].margins(x=0)
    return _legend(figure, axes, 4) if legend else figure


def _legend(figure: Figure, axes: Sequence[Axes], columns: int) -> Figure:
    """One legend for all panels, above them."""
    once: dict[str, Any] = {}
    for ax in axes:
        once |= {text: handle for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(once.values()), list(once), loc="outside upper center", ncols=columns, frameon=False
    )
    return figure
