"""Key figures of the market over a run, each with its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from market.uplift import dso_surplus
from simulation.indices import gini, jain, self_consumption, self_sufficiency
from simulation.market_totals import KINDS, NEGLIGIBLE_EUR, RECOURSE_INCOME

if TYPE_CHECKING:
    from configs.schema import Emissions
    from simulation.market_totals import MarketTotals

Figures = dict[str, float | None]


def market_kpis(totals: MarketTotals, emissions: Emissions) -> dict[str, Any]:
    """Gather the key figures of the market.

    Parameters
    ----------
    totals : MarketTotals
        Sums over the run.
    emissions : Emissions
        Intensities, where given.

    Returns
    -------
    dict
        Units stand in the keys; shares and indices are plain numbers; None where there is nothing
        to measure. The other keys are explained in the functions that this one calls.
    """
    return {
        "cost_by_actor_eur": cost_by_actor(totals),
        **gains_from_trade(totals),
        **trade_prices(totals),
        "recourse_providers": recourse_providers(totals),
        **revenue_adequacy(totals),
        **self_supply(totals),
        **peaks(totals),
        **emitted(totals, emissions),
    }


def cost_by_actor(totals: MarketTotals) -> dict[str, float]:
    """What the accounts of every kind paid, net, over all items. [EUR]

    The accounts of the resources (fuel, wear, discomfort) included they sum to zero; supplier and
    resources together receive the cost at tariff without network fees and capacity payments.
    """
    paid, kind = -totals.received(totals.book.items), np.array(totals.kind)
    plural = {"consumer": "consumers", "prosumer": "prosumers", "operator": "operators"}
    return {plural.get(k, k): float(paid[kind == k].sum()) for k in KINDS}


def gains_from_trade(totals: MarketTotals) -> dict[str, float | int | None]:
    """What the traders gained against trading the same energy with the supplier.

    ``gains_from_trade_eur``: sum over all trades of (retail - paid - fee) kWh for the buyer and
    (received - feed-in) kWh for the seller. ``gains_gini`` and ``gains_jain``: how evenly it is
    spread over the ``traders``, the peers with at least one trade. That none of them is negative
    follows from the pricing rules: it tells nothing of whether a peer is better off than in a run
    without trades, which :mod:`simulation.rationality` compares with.
    """
    gains = totals.gain_eur[(totals.bought_kwh > 0) | (totals.sold_kwh > 0)]
    return {
        "gains_from_trade_eur": float(gains.sum()),
        "gains_gini": gini(gains),
        "gains_jain": jain(gains),
        "traders": len(gains),
    }


def trade_prices(totals: MarketTotals) -> Figures:
    """Mean price of traded energy, each kWh alike, and the network fees on top of it.

    What buyers pay, fees left out, exceeds what sellers receive by what the DSO keeps.
    """
    traded = float(totals.sold_kwh.sum())
    fees = totals.received(("network_fee",))[totals.book.peers]
    return {
        "mean_price_paid_eur_per_kwh": _share(totals.paid_eur, traded),
        "mean_price_received_eur_per_kwh": _share(totals.received_eur, traded),
        "network_fees_eur": -float(fees.sum()),
    }


def recourse_providers(totals: MarketTotals) -> dict[str, float | int | str | None]:
    """Tell whether those who provide recourse recover their costs.

    ``n``: peers that were paid for recourse or delivered some. The margin of each is its income
    from :data:`simulation.market_totals.RECOURSE_INCOME` less the true cost,
    :func:`simulation.market_totals.recourse_cost`, over the run. ``cost_recovered_share``: those
    with a margin that is not negative. ``worst_margin_eur`` is that of ``worst_peer_id``.
    """
    income = totals.received(RECOURSE_INCOME)[totals.book.peers]
    cost = totals.recourse_cost_eur
    providers = np.flatnonzero(np.maximum(np.abs(income), np.abs(cost)) > NEGLIGIBLE_EUR)
    margin = (income - cost)[providers]
    recovered = int((margin >= -NEGLIGIBLE_EUR).sum())
    worst = providers[margin.argmin()] if len(providers) else None
    return {
        "n": len(providers),
        "cost_recovered_share": _share(recovered, len(providers)),
        "worst_margin_eur": None if worst is None else float(margin.min()),
        "worst_peer_id": None if worst is None else totals.roster.peer_id[worst],
    }


def revenue_adequacy(totals: MarketTotals) -> dict[str, Any]:
    """What is left with the DSO, by source, and how often it is not negative.

    Sources: :func:`market.uplift.dso_surplus`. Revenue is adequate in a step if the DSO pays
    out no more than it takes in (W. W. Hogan, Contract networks for electric power transmission,
    Journal of Regulatory Economics 4, 1992, doi:10.1007/BF00133621).
    """
    surplus = dso_surplus(totals.book)
    return {
        "dso_surplus_eur": {**surplus, "total": sum(surplus.values())},
        "dso_revenue_adequate_share": _share(totals.adequate_steps, totals.n_steps),
    }


def self_supply(totals: MarketTotals) -> dict[str, Any]:
    """How far the peers live on their own energy, and how much of it is thrown away.

    ``self_sufficiency`` and ``self_consumption`` of every network's peers, see
    :mod:`simulation.indices`. ``together`` are all networks as one community: what one exports
    while another imports stays within. Losses of the networks are left out.
    ``renewable_curtailment_share``: renewable energy not used over what was available.
    """
    places = (*totals.roster.network, "together")
    imported, exported = totals.import_kwh.tolist(), totals.export_kwh.tolist()
    load, generation = totals.load_kwh.tolist(), totals.generation_kwh.tolist()
    unused = totals.available_kwh - totals.renewable_kwh
    return {
        "self_sufficiency": dict(zip(places, map(self_sufficiency, imported, load), strict=True)),
        "self_consumption": dict(
            zip(places, map(self_consumption, exported, generation), strict=True)
        ),
        "renewable_curtailment_share": _share(unused, totals.available_kwh),
    }


def peaks(totals: MarketTotals) -> dict[str, dict[str, float]]:
    """Largest exchange of every network over the steps, either way. [kW]

    Of P2P energy with other networks, as scheduled, and through the substation, as it came (AC).
    """
    network = totals.roster.network
    return {
        "peak_p2p_exchange_kw": dict(zip(network, totals.peak_p2p_kw.tolist(), strict=True)),
        "peak_substation_exchange_kw": dict(
            zip(network, totals.peak_substation_kw.tolist(), strict=True)
        ),
    }


def emitted(totals: MarketTotals, emissions: Emissions) -> Figures:
    """Emissions of the energy used; each is None without its intensity. [kg CO2]

    ``emissions_grid_kg``: grid intensity times the energy imported at the substations, every
    network and step for itself, without credit for exports. ``emissions_dispatchable_kg``: their
    intensity times the energy of dispatchable units. ``emissions_kg``: both, where both are known.
    """
    grid = _times(emissions.grid_kg_per_kwh, totals.substation_import_kwh)
    units = _times(emissions.dispatchable_kg_per_kwh, totals.dispatchable_kwh)
    return {
        "emissions_grid_kg": grid,
        "emissions_dispatchable_kg": units,
        "emissions_kg": None if grid is None or units is None else grid + units,
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _times(intensity: float | None, amount: float) -> float | None:
    return None if intensity is None else intensity * amount
