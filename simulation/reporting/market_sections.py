"""Sections of a run's report on money: prices by component, who paid and who earned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.reporting.blocks import (
    Picture,
    Prose,
    Section,
    Table,
    count,
    number,
    number_cell,
    text_cell,
)
from simulation.reporting.cost_sections import cost_blocks
from simulation.reporting.drawing import moment
from simulation.reporting.flow_sections import means_note
from simulation.reporting.flow_views import drawn
from simulation.reporting.market_figures import (
    NAMES,
    gains_figure,
    price_figure,
    received_figure,
)
from simulation.reporting.market_views import (
    COMPONENTS,
    nodal_prices,
    received_by_kind,
    trade_prices,
)
from simulation.reporting.picks import largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from simulation.reporting.run_data import RunData

MOST_PEERS = 300
"""Rows of the table of peers."""


def prices(run: RunData, networks: Sequence[str], note: str) -> Section:
    """Prices by component."""
    blocks: list[Picture | Prose | Table] = [Prose(note)] if note else []
    steps = run.tables["clearing"].time.drop_duplicates()
    paid = drawn(run, trade_prices(run).reindex(steps).to_frame()).price
    rows = []
    for name in networks:
        table = nodal_prices(run, name)
        if table is None:
            continue
        missing = int(table.dlmp_mean.isna().sum())
        gaps = (
            f" {count(missing, 'step')} without prices, after fallbacks, left blank."
            if missing
            else ""
        )
        blocks.append(
            Picture(
                f"Nodal prices of {name}",
                price_figure(drawn(run, table), paid),
                _seen(table),
                "Lines are means over the buses, bands reach from the cheapest to the dearest one. "
                "The lower part shows what a kilowatt-hour at a bus costs because of losses, of "
                "voltage and other grid limits, and of risk; with the energy's part they add up "
                "to the "
                "nodal price." + means_note(run) + gaps,
            )
        )
        rows.append(
            [
                text_cell(name),
                number_cell(table.dlmp_mean.mean(), ".4f"),
                *(number_cell(table[f"{part}_mean"].mean(), ".5f") for part in COMPONENTS),
                number_cell(table.dlmp_low.min(), ".4f"),
                number_cell(table.dlmp_high.max(), ".4f"),
            ]
        )
    if rows:
        heads = ["network", "nodal price [EUR/kWh]"]
        heads += [f"{part} [EUR/kWh]" for part in COMPONENTS]
        heads += ["lowest [EUR/kWh]", "highest [EUR/kWh]"]
        note = "Means over buses and time, each step and bus alike; lowest and highest of all."
        blocks.append(Table("Mean prices by component", heads, rows, note))
    return Section("prices", "Prices by component", blocks)


def _seen(table: pd.DataFrame) -> str:
    spread = table.dlmp_high - table.dlmp_low
    widest = spread.idxmax()
    return (
        f"The nodal price is {number(table.dlmp_mean.mean(), '.3f')} EUR/kWh on average; buses "
        f"differ most, by {number(spread.max(), '.3f')} EUR/kWh, on {moment(widest)} UTC."
    )


def money(run: RunData) -> Section:
    """Costs, accounts, gains of the peers."""
    blocks: list[Picture | Prose | Table] = [*cost_blocks(run)]
    received = received_by_kind(run)
    if not received.empty:
        net = received.sum()
        blocks.append(
            Picture(
                "Who paid and who earned",
                received_figure(received),
                f"Net, the {_name(net.idxmax())} received most ({number(net.max())} EUR), the "
                f"{_name(net.idxmin())} paid most ({number(-net.min())} EUR).",
                "Bars above zero were received, bars below paid; diamonds are the sums. All "
                "accounts together sum to zero. Resources stand for fuel, wear and discomfort.",
            )
        )
        blocks.append(_accounts_table(received))
    outcomes = run.tables["peer_outcomes"]
    if not outcomes.empty:
        gains = outcomes.gain_from_trade_eur
        best = largest(outcomes, "gain_from_trade_eur")
        blocks.append(
            Picture(
                "Who gained by trading",
                gains_figure(outcomes),
                f"Trade gained the peers {number(gains.sum())} EUR together; peer "
                f"{best.peer_id} gained "
                f"most, {number(best.gain_from_trade_eur)} EUR.",
                "Every dot is a peer, boxes hold the middle half. The gain compares each trade "
                "with the same energy bought from, or sold to, the supplier. That no trade loses "
                "follows from the pricing rules; who is worse off than without coordination is "
                "told beside the saving, where a base case is at hand.",
            )
        )
        blocks.append(_peer_table(outcomes))
    return Section("money", "Who paid and who earned", blocks)


def _accounts_table(received: pd.DataFrame) -> Table:
    heads = ["item", *(f"{_name(kind)} [EUR]" for kind in received.columns), "sum [EUR]"]
    rows = [
        [
            text_cell(str(item).replace("_", " ")),
            *(number_cell(v, ",.2f") for v in row),
            number_cell(row.sum(), ",.2f"),
        ]
        for item, row in zip(received.index, received.to_numpy(), strict=True)
    ]
    net = received.sum()
    foot = [text_cell("all items"), *(number_cell(v, ",.2f") for v in net)]
    foot.append(number_cell(net.sum(), ",.2f"))
    return Table("Received by kind of account", heads, rows, "Negative amounts were paid.", foot)


def _name(kind: object) -> str:
    """How a kind of account is called."""
    return NAMES.get(str(kind), str(kind))


def _peer_table(outcomes: pd.DataFrame) -> Table:
    order = outcomes.net_eur.abs().sort_values(ascending=False).index
    shown = outcomes.loc[order[:MOST_PEERS]]
    amounts = {
        "net_eur": ("received net [EUR]", ",.2f"),
        "gain_from_trade_eur": ("gain from trade [EUR]", ",.2f"),
        "recourse_income_eur": ("recourse, income [EUR]", ",.2f"),
        "recourse_cost_eur": ("recourse, cost [EUR]", ",.2f"),
        "bought_kwh": ("bought from peers [kWh]", ",.0f"),
        "sold_kwh": ("sold to peers [kWh]", ",.0f"),
    }
    rows = [
        [
            *(text_cell(row[name]) for name in ("peer_id", "network", "kind")),
            *(number_cell(row[name], form) for name, (_, form) in amounts.items()),
        ]
        for row in shown.to_dict("records")
    ]
    note = "Received less paid and borne, all items of the accounts."
    if len(outcomes) > len(shown):
        note += f" Only the {len(shown)} of {len(outcomes):,} peers with the largest amounts."
    heads = ["peer", "network", "kind", *(head for head, _ in amounts.values())]
    return Table("Peers", heads, rows, note)
