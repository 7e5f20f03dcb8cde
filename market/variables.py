"""Decision variables of the first stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cvxpy as cp

if TYPE_CHECKING:
    from market.recourse import RecoursePolicy
    from market.roster import Roster


@dataclass(frozen=True, eq=False)
class Variables:
    """The first stage's decisions, one row a step of the window.

    Powers are in kW or kvar, energies in kWh. Bounds are constraints rather than variable
    attributes, so that every variable keeps its place in the conic form.
    """

    exports: cp.Variable
    """Net sales of the active peers, to anyone, (n_steps, n_active)."""
    bought: cp.Variable
    """Purchases from peers, per price group, (n_steps, n_groups)."""
    sold: cp.Variable
    """Sales to peers, per price group, (n_steps, n_groups)."""
    exchange_out: cp.Variable
    """P2P energy sent to other networks, (n_steps, n_networks)."""
    exchange_in: cp.Variable
    """P2P energy received from other networks, (n_steps, n_networks)."""
    renewable: cp.Variable
    """Renewable power used, (n_steps, n_renewable)."""
    dispatchable: cp.Variable
    """Dispatchable power, (n_steps, n_dispatchable)."""
    fuel: cp.Variable
    """Cost of dispatchable power offered in price blocks, (n_steps, n_dispatchable). [EUR/h]"""
    charge: cp.Variable
    discharge: cp.Variable
    energy: cp.Variable
    """Battery power and the energy stored at the end of each step, (n_steps, n_storage)."""
    curtailed: cp.Variable
    """Flexible load dropped, (n_steps, n_flexible)."""
    deferred: cp.Variable
    """Flexible load put off; negative when made up for, (n_steps, n_flexible)."""
    backlog: cp.Variable
    """Deferred energy at the end of each step, (n_steps, n_flexible)."""
    reactive: cp.Variable
    """Reactive injection of inverters and machines, (n_steps, n_reactive)."""
    alpha: cp.Variable
    """Recourse shares of the devices, signal by signal, (n_steps, n_signals * n_recourse)."""
    alpha_upstream: cp.Variable
    """Shares of the upstream grid, signal by signal, (n_steps, n_signals * n_pools)."""
    surplus_cost: cp.Variable
    """Second-stage cost per kWh of surplus, (n_steps, n_pools). [EUR/kWh]"""
    shortage_cost: cp.Variable
    """Second-stage cost per kWh of shortage, (n_steps, n_pools). [EUR/kWh]"""
    steepest_cost: cp.Variable
    """Largest absolute slope of the second-stage cost, (n_steps, n_pools). [EUR/kWh]"""
    violation: cp.Variable
    """Slack of the grid constraints, (n_steps, n_networks). [mp.u.]"""

    @classmethod
    def create(
        cls, roster: Roster, n_groups: int, policy: RecoursePolicy, n_blocks: int = 0
    ) -> Variables:
        """Create the variables for a roster, price groups, a recourse policy and price blocks."""

        def per(n: int, name: str) -> cp.Variable:
            return cp.Variable((roster.n_steps, n), name=name)

        sizes = {
            "exports": len(roster.active),
            "bought": n_groups,
            "sold": n_groups,
            "exchange_out": roster.n_networks,
            "exchange_in": roster.n_networks,
            "renewable": len(roster.renewable),
            "dispatchable": len(roster.dispatchable),
            "fuel": len(roster.dispatchable) if n_blocks else 0,
            "charge": len(roster.storage),
            "discharge": len(roster.storage),
            "energy": len(roster.storage),
            "curtailed": len(roster.flexible),
            "deferred": len(roster.flexible),
            "backlog": len(roster.flexible),
            "reactive": len(roster.reactive),
            "alpha": policy.n_signals * len(roster.recourse),
            "alpha_upstream": policy.n_signals * policy.n_pools,
            "surplus_cost": policy.n_pools,
            "shortage_cost": policy.n_pools,
            "steepest_cost": policy.n_pools,
            "violation": roster.n_networks,
        }
        return cls(**{name: per(n, name) for name, n in sizes.items()})
