"""Individual rationality of a run: who is worse off than without coordination, on the same draws.

Within one run nobody loses by a trade, as every price lies between the supplier's two. A peer can
still lose by the market as a whole, when batteries and plants meet other prices of recourse and
imbalance, or another dispatch, than they would without it; only a second run tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

TOLERANCE_EUR = 0.01
"""A peer that loses no more than this over a run counts as no worse off. [EUR]"""
KINDS = ("consumer", "prosumer")
SAME_DRAWS = ("seed", "start", "days", "step_minutes")
"""Settings in which runs on the same draws do not differ."""
NAMED = 3
"""So many of the peers that lose most are named."""


@dataclass(frozen=True)
class Rationality:
    """Who is left with less than in the reference.

    Attributes
    ----------
    peers : dict of str to int
        Peers that both runs have, by kind.
    losing : dict of str to int
        Those of them that lose more than :data:`TOLERANCE_EUR`.
    worst : list of (str, str, float)
        Who loses most: peer, its kind, and its loss, a negative gain. [EUR]
    """

    peers: dict[str, int]
    losing: dict[str, int]
    worst: list[tuple[str, str, float]]

    @property
    def share(self) -> float:
        """Share of the peers that are not worse off."""
        return 1 - sum(self.losing.values()) / sum(self.peers.values())

    def __str__(self) -> str:
        n, losing = sum(self.peers.values()), sum(self.losing.values())
        text = f"{self.share:.1%} of {n} peers not worse off"
        if not losing:
            return f"{text}; nobody loses"
        kinds = " and ".join(
            f"{n_losing} of {self.peers[kind]} {kind}s"
            for kind, n_losing in self.losing.items()
            if n_losing
        )
        named = ", ".join(f"{peer} ({kind}) {-gain:,.2f}" for peer, kind, gain in self.worst)
        return f"{text}; {kinds} lose, most {named} EUR"


def rationality(gains: pd.DataFrame) -> Rationality | None:
    """Condense what every peer gains over the reference; None without peers.

    Parameters
    ----------
    gains : DataFrame
        ``peer_id``, ``kind`` and ``gain_eur``.
    """
    if gains.empty:
        return None
    losing = gains[gains.gain_eur < -TOLERANCE_EUR].sort_values("gain_eur", kind="stable")
    worst = losing.head(NAMED)
    return Rationality(
        {kind: int((gains.kind == kind).sum()) for kind in KINDS},
        {kind: int((losing.kind == kind).sum()) for kind in KINDS},
        list(zip(worst.peer_id, worst.kind, worst.gain_eur.astype(float), strict=True)),
    )


def gains_over(own: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Gain of every peer that both runs have.

    Parameters
    ----------
    own, reference : DataFrame
        What :func:`peer_worth` returns.

    Returns
    -------
    DataFrame
        ``peer_id``, ``kind`` and ``gain_eur``. [EUR]
    """
    gain = (own.worth_eur - reference.worth_eur).dropna().rename("gain_eur")
    return own[["kind"]].join(gain, how="inner").reset_index()


def rationality_of_runs(
    folder: Path, summary: Mapping[str, Any], base: Path, base_summary: Mapping[str, Any]
) -> Rationality | None:
    """Compare what two finished runs left every peer with; None if one did not record it.

    Parameters
    ----------
    folder, base : Path
        Folders of the run and of the reference.
    summary, base_summary : mapping
        Content of their ``summary.json``.
    """
    left = []
    for place, told in ((folder, summary), (base, base_summary)):
        value = told.get("stored_energy_value_eur_per_kwh", {}).get("mid")
        left.append(None if value is None else peer_worth(place, value))
    own, reference = left
    return None if own is None or reference is None else rationality(gains_over(own, reference))


def peer_worth(folder: Path, stored_energy_value: float) -> pd.DataFrame | None:
    """Read what a run left every peer with; none of a run that did not record it.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    stored_energy_value : float
        Value of what the batteries hold more at the end than at the start. [EUR/kWh]

    Returns
    -------
    DataFrame or None
        Its table ``peer_outcomes`` by ``peer_id``, with ``worth_eur``, money and stored energy.
        [EUR]
    """
    try:
        table = pd.read_parquet(folder / "peer_outcomes.parquet").set_index("peer_id")
    except FileNotFoundError:
        return None
    worth = table.net_eur + stored_energy_value * table.stored_energy_change_kwh
    return table.assign(worth_eur=worth)
