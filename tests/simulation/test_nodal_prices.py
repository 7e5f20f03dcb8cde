"""Nodal prices of the default networks are derivatives: the window solved again with 1 W more."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from configs.loading import load
from market import solve
from market.window import Window
from simulation.model import CoSimulation
from simulation.setup import build_world

WATT = 1e-3
# As close as double precision gets, whether or not the solver calls that solved.
EXACT = replace(
    solve.LADDER[0],
    solver=partial(
        solve.LADDER[0].solver, tolerance=1e-11, enough=1e-9, max_iterations=200, refine=True
    ),
    accepts=frozenset({"Solved", "AlmostSolved"}),
)


class NoTables:
    def write_step(self, record):
        """Keep nothing."""


@pytest.mark.slow
@pytest.mark.parametrize(("hour", "binds"), [(3, False), (13, True)], ids=["free", "binding"])
def test_prices_of_the_default_networks_are_derivatives(monkeypatch, hour, binds):
    config = load("default", ["start=2016-06-09", "days=1", "market.horizon_hours=8"])
    posed = {}
    nodal_prices = Window.nodal_prices

    def remembered(window, decisions, rows, *arguments, **options):
        posed.update(window=window, rows=rows)
        return nodal_prices(window, decisions, rows, *arguments, **options)

    monkeypatch.setattr(Window, "nodal_prices", remembered)
    model = CoSimulation(config, build_world(config), NoTables())
    for _ in range(hour):
        model.step()
    window, rows, roster = posed["window"], posed["rows"], model.roster
    result = model._cleared.result
    assert any(audits[0].binding for audits in result.audits) == binds

    monkeypatch.setattr(solve, "LADDER", (EXACT, *solve.LADDER[1:]))

    def cost(peer, more_kw):
        """Optimal cost of the window when a peer draws more in its first step. [EUR]"""
        load_kw = window.book.load_kw.copy()
        load_kw[0, peer] += more_kw
        moved = replace(window, book=replace(window.book, load_kw=load_kw))
        own = np.flatnonzero(roster.members(roster.network_of[peer]) == peer)[0]
        return moved.solve(
            [
                replace(row, room=row.room + more_kw * row.d_p[own])
                if row.step == 0 and row.network == roster.network_of[peer]
                else row
                for row in rows
            ]
        ).objective

    unmoved = cost(0, 0.0)
    n_interior = 0
    for peer in np.random.default_rng(0).choice(roster.n_peers, 12, replace=False):
        up = (cost(peer, WATT) - unmoved) / WATT
        down = (unmoved - cost(peer, -WATT)) / WATT
        price = result.prices.dlmp[0, peer]
        if abs(up - down) < 1e-3 * abs(price) + 1e-4:  # else the cost has a kink here
            n_interior += 1
            assert price == pytest.approx((up + down) / 2, rel=1e-3, abs=1e-4)
        else:
            assert down - 1e-3 <= price <= up + 1e-3
    assert n_interior >= 9
