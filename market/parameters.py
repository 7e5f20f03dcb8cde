"""Data of the first stage that change from clearing to clearing."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import cvxpy as cp
import numpy as np

from market.price_blocks import cost_offset

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from market.book import BidBook, TariffWindow
    from market.recourse import RecoursePolicy
    from market.roster import Roster

    Array = NDArray[np.float64]


UNAVAILABLE = 10.0
"""Price that keeps recourse away from devices that offer none. [EUR/kWh]"""
DETERRENT = 1.0
"""What a trade would lose, at least, of a peer that asks an infinite price. [EUR/kWh]"""


@dataclass(frozen=True, eq=False)
class SecondStage:
    """What the first stage has to know of the uncertainty, shape (n_steps, n_pools) each.

    Omega is the sum of a pool's forecast errors, positive for a surplus.
    """

    expected_surplus_kw: Array
    """Mean of the positive part of Omega. [kW]"""
    expected_shortage_kw: Array
    """Mean of the negative part of Omega. [kW]"""
    transport_kw: Array
    """Wasserstein radius times the standard deviation of Omega. [kW]"""
    reserve_up_kw: Array
    """Robust quantile of a shortage, which recourse answers upwards. [kW]"""
    reserve_down_kw: Array
    """Robust quantile of a surplus, which recourse answers downwards. [kW]"""

    @property
    def without_reserves(self) -> SecondStage:
        """The same errors, answered without room kept for them and without doubt of their law."""
        nothing = np.zeros_like(self.transport_kw)
        return replace(self, transport_kw=nothing, reserve_up_kw=nothing, reserve_down_kw=nothing)

    def ready_kw(self, alpha: Array, pool: NDArray[np.intp]) -> Array:
        """Power that the devices keep ready, the mean of both directions. [kW]

        Parameters
        ----------
        alpha : ndarray, shape (n_steps, n_signals, n_recourse)
            Recourse shares.
        pool : ndarray of int, shape (n_recourse,)
            Pool of each device.

        Returns
        -------
        ndarray, shape (n_steps, n_recourse)
        """
        down, up = alpha[:, 0], alpha[:, -1]
        ready = (self.reserve_down_kw[:, pool] * down + self.reserve_up_kw[:, pool] * up) / 2
        return np.asarray(ready)


@dataclass(frozen=True, eq=False)
class LossModel:
    """Network losses to first order around an operating point.

    Attributes
    ----------
    constant_kw : ndarray, shape (n_steps, n_networks)
        Losses less the gradient times the operating point. [kW]
    d_p, d_q : ndarray, shape (n_steps, n_peers)
        Loss per injected power. [kW/kW, kW/kvar]
    q_centre_kvar : ndarray, shape (n_steps, n_peers)
        Reactive injection of the operating point, load included. [kvar]
    """

    constant_kw: Array
    d_p: Array
    d_q: Array
    q_centre_kvar: Array


@dataclass(frozen=True, eq=False)
class Parameters:
    """The changing data, named like the quantities they bound or price."""

    fixed_kw: cp.Parameter
    idle_import_kw: cp.Parameter
    barred_import_kw: cp.Parameter
    barred_export_kw: cp.Parameter
    renewable_min_kw: cp.Parameter
    renewable_max_kw: cp.Parameter
    renewable_price: cp.Parameter
    dispatchable_max_kw: cp.Parameter
    dispatchable_cost: cp.Parameter
    dispatchable_cost_quadratic: cp.Parameter
    block_price: cp.Parameter
    block_offset: cp.Parameter
    charge_max_kw: cp.Parameter
    discharge_max_kw: cp.Parameter
    energy_min_kwh: cp.Parameter
    energy_max_kwh: cp.Parameter
    energy_floor_kwh: cp.Parameter
    energy_ceiling_kwh: cp.Parameter
    energy_kwh: cp.Parameter
    wear: cp.Parameter
    end_value: cp.Parameter
    flexible_kw: cp.Parameter
    curtailable_kw: cp.Parameter
    served_max_kw: cp.Parameter
    backlog_kwh: cp.Parameter
    backlog_max_kwh: cp.Parameter
    willingness_to_pay: cp.Parameter
    deferral_price: cp.Parameter
    backlog_end_price: cp.Parameter
    q_max_kvar: cp.Parameter
    retail: cp.Parameter
    feed_in: cp.Parameter
    buy_premium: cp.Parameter
    sell_premium: cp.Parameter
    imbalance_buy: cp.Parameter
    imbalance_sell: cp.Parameter
    loss_price_p: cp.Parameter
    loss_price_q: cp.Parameter
    recourse_up: cp.Parameter
    recourse_down: cp.Parameter
    capacity_cost: cp.Parameter
    reserve_up_kw: cp.Parameter
    reserve_down_kw: cp.Parameter
    expected_surplus_kw: cp.Parameter
    expected_shortage_kw: cp.Parameter
    transport_kw: cp.Parameter
    constant_cost: cp.Parameter

    @classmethod
    def create(
        cls, roster: Roster, n_groups: int, policy: RecoursePolicy, n_blocks: int = 0
    ) -> Parameters:
        """Create the parameters for a roster, price groups, a recourse policy and price blocks."""
        t, pools = roster.n_steps, policy.n_pools
        active, ren, dg = len(roster.active), len(roster.renewable), len(roster.dispatchable)
        sto, flex, rec = len(roster.storage), len(roster.flexible), len(roster.recourse)
        shapes: dict[str, tuple[int, ...]] = {
            "fixed_kw": (t, active),
            "idle_import_kw": (t, n_groups),
            "barred_import_kw": (t, n_groups),
            "barred_export_kw": (t, n_groups),
            "renewable_min_kw": (t, ren),
            "renewable_max_kw": (t, ren),
            "renewable_price": (ren,),
            "dispatchable_max_kw": (dg,),
            "dispatchable_cost": (dg,),
            "dispatchable_cost_quadratic": (dg,),
            "block_price": (n_blocks * dg,),
            "block_offset": (n_blocks * dg,),
            "charge_max_kw": (sto,),
            "discharge_max_kw": (sto,),
            "energy_min_kwh": (sto,),
            "energy_max_kwh": (sto,),
            "energy_floor_kwh": (t, sto),
            "energy_ceiling_kwh": (t, sto),
            "energy_kwh": (sto,),
            "wear": (sto,),
            "end_value": (sto,),
            "flexible_kw": (t, flex),
            "curtailable_kw": (t, flex),
            "served_max_kw": (flex,),
            "backlog_kwh": (flex,),
            "backlog_max_kwh": (flex,),
            "willingness_to_pay": (flex,),
            "deferral_price": (flex,),
            "backlog_end_price": (flex,),
            "q_max_kvar": (len(roster.reactive),),
            "retail": (t,),
            "feed_in": (t,),
            "buy_premium": (t, n_groups),
            "sell_premium": (t, n_groups),
            "imbalance_buy": (t,),
            "imbalance_sell": (t,),
            "loss_price_p": (t, active),
            "loss_price_q": (t, len(roster.reactive)),
            "recourse_up": (rec,),
            "recourse_down": (rec,),
            "capacity_cost": (t, policy.n_signals * rec),
            "reserve_up_kw": (t, pools),
            "reserve_down_kw": (t, pools),
            "expected_surplus_kw": (t, pools),
            "expected_shortage_kw": (t, pools),
            "transport_kw": (t, pools),
            "constant_cost": (),
        }
        return cls(
            **{
                name: cp.Parameter(shape, name=name, nonneg=name == "dispatchable_cost_quadratic")
                for name, shape in shapes.items()
            }
        )

    def assign(
        self,
        *,
        book: BidBook,
        tariff: TariffWindow,
        second: SecondStage,
        losses: LossModel,
        roster: Roster,
        groups: NDArray[np.intp],
        policy: RecoursePolicy,
        q_damping: Array,
    ) -> None:
        """Set every parameter.

        Parameters
        ----------
        book : BidBook
            The bids.
        tariff : TariffWindow
            The supplier's prices.
        second : SecondStage
            Statistics of the uncertainty.
        losses : LossModel
            Linearised losses.
        roster : Roster
            The registered peers.
        groups : ndarray of int, shape (n_peers,)
            Price group of every peer: peers of one group share network and limit prices.
        policy : RecoursePolicy
            Signals and pools of the recourse.
        q_damping : ndarray, shape (n_reactive,)
            Weights of the quadratic term round the reactive operating point. [EUR/(kvar2 h)]
        """
        loss_price = tariff.loss[:, None]
        q_centre = losses.q_centre_kvar + book.load_kvar
        able = book.recourse_max_kw > 0
        first = _first_members(groups)
        trading = _trading(book, roster, groups)
        fixed_kw = book.fixed_kw - _spread(
            book.flexible_baseline_kw, roster.to_peers(roster.flexible)
        )
        # Costs that no decision changes; products of two parameters would not be DPP.
        constant_cost = (
            -tariff.retail @ fixed_kw.sum(axis=1)
            + tariff.loss @ losses.constant_kw.sum(axis=1)
            + tariff.loss @ (losses.d_p * fixed_kw - losses.d_q * book.load_kvar).sum(axis=1)
            + (q_damping * q_centre[:, roster.reactive] ** 2).sum()
        )
        values = {
            "fixed_kw": fixed_kw[:, roster.active],
            **trading,
            "renewable_min_kw": book.renewable_min_kw,
            "renewable_max_kw": book.renewable_max_kw,
            "renewable_price": book.renewable_price,
            "dispatchable_max_kw": book.dispatchable_max_kw,
            "dispatchable_cost": book.dispatchable_cost,
            "dispatchable_cost_quadratic": book.dispatchable_cost_quadratic,
            "block_price": book.block_price.T.ravel(),
            "block_offset": cost_offset(book.block_kw, book.block_price).T.ravel(),
            "charge_max_kw": book.charge_max_kw,
            "discharge_max_kw": book.discharge_max_kw,
            "energy_min_kwh": book.energy_min_kwh,
            "energy_max_kwh": book.energy_max_kwh,
            "energy_floor_kwh": book.energy_floor_kwh,
            "energy_ceiling_kwh": book.energy_ceiling_kwh,
            "energy_kwh": book.energy_kwh,
            "wear": book.wear,
            "end_value": book.end_value,
            "flexible_kw": book.flexible_baseline_kw,
            "curtailable_kw": book.flexible_baseline_kw * book.curtailable_share,
            "served_max_kw": book.served_max_kw,
            "backlog_kwh": book.backlog_kwh,
            "backlog_max_kwh": book.backlog_max_kwh,
            "willingness_to_pay": book.willingness_to_pay,
            "deferral_price": book.deferral_price,
            "backlog_end_price": book.backlog_end_price,
            "q_max_kvar": book.q_max_kvar,
            "retail": tariff.retail,
            "feed_in": tariff.feed_in,
            **_premiums(book, tariff, first),
            "imbalance_buy": tariff.imbalance_buy,
            "imbalance_sell": tariff.imbalance_sell,
            "loss_price_p": loss_price * losses.d_p[:, roster.active],
            "loss_price_q": (loss_price * losses.d_q)[:, roster.reactive]
            - 2 * q_damping * q_centre[:, roster.reactive],
            "recourse_up": np.where(able, book.recourse_up, UNAVAILABLE),
            "recourse_down": np.where(able, book.recourse_down, UNAVAILABLE),
            "capacity_cost": _capacity_cost(book, second, roster, policy),
            "reserve_up_kw": second.reserve_up_kw,
            "reserve_down_kw": second.reserve_down_kw,
            "expected_surplus_kw": second.expected_surplus_kw,
            "expected_shortage_kw": second.expected_shortage_kw,
            "transport_kw": second.transport_kw,
            "constant_cost": constant_cost,
        }
        for field in fields(self):
            parameter, value = getattr(self, field.name), values[field.name]
            # CVXPY checks every value anew, which takes longer than to see that it is the old one.
            if not np.array_equal(parameter.value, value):
                parameter.value = value


def _trading(book: BidBook, roster: Roster, groups: NDArray[np.intp]) -> dict[str, Array]:
    """Fixed imports of peers without devices, and what barred peers must not trade."""
    n_groups = groups.max() + 1
    net = book.fixed_kw.copy()
    net[:, roster.renewable] += book.renewable_min_kw
    is_active = np.zeros(roster.n_peers, dtype=bool)
    is_active[roster.active] = True
    barred = is_active & ~book.participates
    idle = ~is_active & book.participates

    def per_group(kw: Array, mask: NDArray[np.bool_]) -> Array:
        out = np.zeros((len(kw), n_groups))
        np.add.at(out.T, groups[mask], kw.T[mask])
        return out

    return {
        "idle_import_kw": per_group(np.maximum(-net, 0), idle),
        "barred_import_kw": per_group(np.maximum(-net, 0), barred),
        "barred_export_kw": per_group(np.maximum(net, 0), barred),
    }


def _premiums(book: BidBook, tariff: TariffWindow, first: NDArray[np.intp]) -> dict[str, Array]:
    """What each group's limit prices ask beyond the supplier's, (n_steps, n_groups). [EUR/kWh]

    A trade saves what the supplier would have been paid less what it would have paid, whatever
    more a buyer offers or less a seller asks: otherwise it would pay to buy from the supplier in
    order to trade. Beyond the other end a price deters from any trade, infinite as it may be.
    """
    retail, feed_in = tariff.retail[:, None], tariff.feed_in[:, None]
    buy = np.clip(book.buy_limit[:, first], feed_in - DETERRENT, retail)
    sell = np.clip(book.sell_limit[:, first], feed_in, retail + DETERRENT)
    return {"buy_premium": retail - buy, "sell_premium": sell - feed_in}


def _capacity_cost(
    book: BidBook, second: SecondStage, roster: Roster, policy: RecoursePolicy
) -> Array:
    """Price of each recourse share, signal by signal, (n_steps, n_signals * n_recourse)."""
    pool = policy.pool_of[roster.network_of[roster.recourse]]
    ready = [second.ready_kw(alpha[None, :, None], pool) for alpha in np.eye(policy.n_signals)]
    return np.hstack([kw * book.recourse_capacity for kw in ready])


def _first_members(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """One member of each group, whose limit prices stand for all."""
    return np.unique(groups, return_index=True)[1]


def _spread(values: Array, target: sparse.csr_array) -> Array:
    """Add device values to the columns of their owners."""
    return np.asarray(values @ target)
