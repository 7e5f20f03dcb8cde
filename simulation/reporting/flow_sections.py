"""Sections of a run's report on energy: balances, trade between networks, batteries, recourse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulation.reporting.blocks import (
    Picture,
    Prose,
    Section,
    Table,
    number,
    number_cell,
    percent,
    text_cell,
)
from simulation.reporting.drawing import moment
from simulation.reporting.flow_figures import (
    balance_figure,
    battery_figure,
    flow_matrix,
    recourse_figure,
    traded_figure,
)
from simulation.reporting.flow_views import (
    batteries,
    drawn,
    energy_balance,
    flows_between,
    period_steps,
    recourse,
    recourse_energy,
    traded_power,
)
from simulation.reporting.picks import largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from simulation.reporting.run_data import RunData

_MOST_IN_TABLE = 8
"""Networks whose mutual trade fits into a table; that of more is drawn."""


def means_note(run: RunData) -> str:
    """Say what one point of a curve is."""
    steps = period_steps(run)
    if steps == 1:
        return ""
    return (
        f" Every point is the mean over {steps * run.step_hours:g} hours, to keep the page small; "
        "the sentence above is about single steps."
    )


def energy(run: RunData, networks: Sequence[str], note: str) -> Section:
    """Energy balance and trade over time."""
    blocks: list[Picture | Prose | Table] = [Prose(note)] if note else []
    several = len(run.networks) > 1
    for name in networks:
        balance = energy_balance(run, name)
        blocks.append(
            Picture(
                f"Energy balance of {name}",
                balance_figure(drawn(run, balance)),
                _balance_seen(run, balance),
                "Sources are stacked upwards, uses downwards; in every step they are equal. Energy "
                "from and to upstream passes the substation, traded energy among it; renewables "
                "are what was used of them." + means_note(run),
            )
        )
    for name in networks:
        power = traded_power(run, name)
        blocks.append(
            Picture(
                f"Energy traded by the peers of {name}",
                traded_figure(drawn(run, power), several=several),
                _traded_seen(power, several=several),
                "Sales to other networks are stacked on what peers trade among themselves; "
                "purchases from other networks point downwards." + means_note(run),
            )
        )
    if several:
        flows = flows_between(run)
        if len(flows) > _MOST_IN_TABLE:
            total = float(flows.to_numpy().sum())
            own = float(np.trace(flows.to_numpy()))
            blocks.append(
                Picture(
                    "Energy traded between networks",
                    flow_matrix(flows),
                    f"{percent(own / total if total else None)} of the {number(total / 1000)} MWh "
                    "traded stays in the network of its seller.",
                    "Sellers' networks are the rows, buyers' the columns; the diagonal is trade "
                    "within a network.",
                )
            )
        else:
            blocks.append(_flow_table(flows))
    return Section("energy", "Energy balance and trade", blocks)


def _balance_seen(run: RunData, balance: pd.DataFrame) -> str:
    load, used = -balance["load"], balance["renewables"]
    share = used.sum() / load.sum() if load.sum() > 0 else None
    peak = load.idxmax()
    return (
        f"Load peaks at {number(load.max())} kW on {moment(peak)} UTC; renewable energy used "
        f"amounts to {percent(share)} of the load, "
        f"{number(balance['from upstream'].sum() / max(load.sum(), 1e-9) * 100)} % came from "
        "upstream."
    )


def _traded_seen(power: pd.DataFrame, *, several: bool) -> str:
    if not power.abs().to_numpy().max() > 0:
        return "Nothing was traded."
    peak = power["within"].idxmax()
    text = (
        f"Trade among its own peers averages {number(power['within'].mean())} kW and peaks at "
        f"{number(power['within'].max())} kW on {moment(peak)} UTC"
    )
    if not several:
        return f"{text}."
    return (
        f"{text}; to other networks it sells {number(power['sold'].mean(), ',.1f')} kW and buys "
        f"{number(-power['bought'].mean(), ',.1f')} kW on average."
    )


def _flow_table(flows: pd.DataFrame) -> Table:
    rows = [
        [text_cell(name), *(number_cell(value) for value in row), number_cell(row.sum())]
        for name, row in zip(flows.index, flows.to_numpy(), strict=True)
    ]
    heads = ["sold by peers of", *(f"bought in {name} [kWh]" for name in flows.columns)]
    return Table("Energy traded between networks", [*heads, "together [kWh]"], rows)


def batteries_and_recourse(run: RunData, networks: Sequence[str], note: str) -> Section:
    """State of charge, recourse asked and delivered."""
    blocks: list[Picture | Prose | Table] = [Prose(note)] if note else []
    without = []
    for name in networks:
        stored = batteries(run, name)
        if stored is None:
            without.append(name)
            continue
        blocks.append(
            Picture(
                f"Batteries of {name}",
                battery_figure(drawn(run, stored)),
                f"All batteries together hold {number(stored['mean'].mean())} % of their capacity "
                f"on average, between {number(stored['mean'].min())} and "
                f"{number(stored['mean'].max())} %.",
                "The line is all stored energy over all capacity; the band reaches from the "
                "emptiest to the fullest single battery." + means_note(run),
            )
        )
    if without:
        blocks.append(Prose(f"No battery in {', '.join(without)}."))
    for name in networks:
        given = recourse(run, name)
        if not given.delivered.abs().max() > 0:
            continue
        blocks.append(
            Picture(
                f"Recourse of {name}",
                recourse_figure(drawn(run, given[["asked", "delivered"]])),
                _recourse_seen(given),
                "What the devices were asked to add to their schedules once the forecast errors "
                "were known, and what they did; positive injects more or draws less. Crosses mark "
                "steps where much of it is missing." + means_note(run),
            )
        )
    blocks.append(_recourse_table(run))
    return Section("recourse", "Batteries and recourse", blocks)


def _recourse_seen(given: pd.DataFrame) -> str:
    extreme = largest(given.assign(size=given.delivered.abs()), "size")
    return (
        f"The largest recourse delivered is {number(extreme.delivered)} kW on "
        f"{moment(extreme.name)} UTC; the clearings gave devices "
        f"{number(given.share.mean(), '.1f')} % of this network's forecast error on average, the "
        "rest to the upstream grid."
    )


def _recourse_table(run: RunData) -> Table:
    rows = []
    for row in recourse_energy(run).to_dict("records"):
        asked, done = (row[f"{name}_up"] + row[f"{name}_down"] for name in ("asked", "delivered"))
        rows.append(
            [
                text_cell(row["network"]),
                *(
                    number_cell(row[key])
                    for key in ("asked_up", "delivered_up", "asked_down", "delivered_down")
                ),
                number_cell(100 * done / asked if asked > 0 else None, ".1f"),
            ]
        )
    heads = ["network", "up, asked [kWh]", "up, delivered [kWh]", "down, asked [kWh]"]
    return Table(
        "Recourse asked and delivered",
        [*heads, "down, delivered [kWh]", "delivered [%]"],
        rows,
        "Summed device by device and step by step, so that up and down do not cancel.",
    )
