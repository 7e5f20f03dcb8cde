"""Who gains: what every peer gets out of a treatment over another one, on the same draws.

A treatment is *individually rational* for a peer that it leaves no worse off than the reference
does, usually the run without coordination, where every peer deals with its supplier alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from simulation.indices import gini, jain
from simulation.rationality import KINDS, TOLERANCE_EUR, peer_worth
from simulation.strategic_peers import TRUTHFUL, peer_strategies
from simulation.sweeps import references

if TYPE_CHECKING:
    from pathlib import Path

    from configs.experiment_schema import Experiment

COLUMNS = (
    "comparison",
    "treatment",
    "reference",
    "replicate",
    "peer_id",
    "network",
    "kind",
    "strategy",
    "gain_eur",
)


def compared_gains(experiment: Experiment) -> dict[str, dict[str, str]]:
    """List whose gains an experiment reports, and over what.

    Returns
    -------
    dict of str to dict of str to str
        By name of the comparison, such as ``gains_over_no_coordination``: the label of the
        reference of every treatment that has one.
    """
    return {
        f"gains_over_{name}": references(experiment, change)
        for name, change in experiment.gains_over.items()
    }


def peer_gains(
    index: pd.DataFrame, folder: Path, compared: dict[str, dict[str, str]]
) -> pd.DataFrame:
    r"""Compute the gain of every peer in every run that has a finished reference.

    .. math:: g_i = (m_i + \pi \Delta e_i) - (m_i^0 + \pi^0 \Delta e_i^0) ,

    with the money m that the peer receives less what it pays and bears over a run, what its
    battery holds more at the end than at the start, and the value of stored energy by which
    costs are adjusted, too (see :func:`simulation.sweep_index.index`); 0 marks the reference, the
    run of the same replicate.

    Parameters
    ----------
    index : DataFrame
        What :func:`simulation.sweep_index.index` returns; only finished runs count.
    folder : Path
        Folder of all runs.
    compared : dict of str to dict of str to str
        What :func:`compared_gains` returns.

    Returns
    -------
    DataFrame
        One row a comparison, run and peer, with the columns :data:`COLUMNS`; ``gain_eur`` is that
        of the whole run, ``strategy`` the peer's in the treatment, whatever it is in the
        reference. Only peers that both runs have are compared. [EUR]
    """
    outcomes = {}
    for _, run in index[index.status == "finished"].iterrows():
        own = folder / run.run_id
        outcome = peer_worth(own, run.stored_energy_value_eur_per_kwh)
        if outcome is not None:
            strategy = peer_strategies(own).reindex(outcome.index).fillna(TRUTHFUL)
            outcomes[run.treatment, run.replicate] = outcome.assign(strategy=strategy)
    parts = []
    for comparison, references_of in compared.items():
        for (treatment, replicate), own in outcomes.items():
            reference = references_of.get(treatment, "")
            if (reference, replicate) in outcomes:
                other = outcomes[reference, replicate].worth_eur
                gain = (own.worth_eur - other).dropna().rename("gain_eur")
                place = {"treatment": treatment, "reference": reference, "replicate": replicate}
                part = own.join(gain, how="inner").reset_index()
                parts.append(part.assign(comparison=comparison, **place)[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def key_figures(gains: pd.DataFrame) -> dict[str, float]:
    """Condense the gains of one run.

    Parameters
    ----------
    gains : DataFrame
        The rows of one comparison and run.

    Returns
    -------
    dict of str to float
        ``ir_share``: share of the peers that lose no more than ``TOLERANCE_EUR``;
        ``worst_eur``: the smallest gain of any peer, a loss if negative;
        ``gini`` and ``jain`` of the gains, see :mod:`simulation.indices`;
        ``losing_<kind>_share``: share of the peers of one kind that lose more;
        ``mean_<kind>_eur``: mean gain of the peers of one kind. NaN where there is none. Where
        peers are strategic, also ``strategic_eur`` and ``others_eur``: mean gain of those who are
        and of those who are not. [EUR]
    """
    gain, strategic = gains.gain_eur.astype(float), gains.strategy != TRUTHFUL
    split = {"strategic_eur": gain[strategic].mean(), "others_eur": gain[~strategic].mean()}
    return {
        "ir_share": float((gain >= -TOLERANCE_EUR).mean()),
        "worst_eur": float(gain.min()),
        "gini": _number(gini(gain)),
        "jain": _number(jain(gain)),
        **{
            f"losing_{kind}_share": float((gain[gains.kind == kind] < -TOLERANCE_EUR).mean())
            for kind in KINDS
        },
        **{f"mean_{kind}_eur": float(gain[gains.kind == kind].mean()) for kind in KINDS},
        **(split if strategic.any() else {}),
    }


def _number(value: float | None) -> float:
    """Return NaN for an index that is not defined."""
    return float("nan") if value is None else value
