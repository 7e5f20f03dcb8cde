"""The settings of an experiment: which runs it consists of and what is compared with what.

Every treatment is run on every replicate, so that treatments are compared on common random
numbers: weather, peers and prices of a replicate follow from its seed and start alone.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.limits import RUNS
from configs.schema import Name, Settings

ConfigPath = Annotated[str, Field(pattern=r"^[^.=\s]+(\.[^.=\s]+)*$", max_length=200)]
"""Place of a setting in a scenario, such as ``market.risk_level`` or
``networks.case85.load_scale``; entries of lists are addressed by number, networks also by name."""
Overrides = dict[ConfigPath, Any]
"""Values by place."""
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
"""Becomes part of a column name."""
FigureName = Literal[
    "cost",
    "premium",
    "violation",
    "reliability",
    "frontier",
    "gains",
    "savings",
    "surplus",
    "strategic_gains",
    "strategic_violation",
    "learning",
]


class Design(Settings):
    """The part of an experiment that ``quick`` may replace."""

    set: Overrides = Field(default={})
    """Settings of all runs that depart from the scenario."""
    replicates: tuple[Overrides, ...] = Field(default=({},), min_length=1)
    """Settings of each replicate: its seed, its start, or whatever else random numbers hang on.
    Where seeds and starts both vary, all pairs of them are replicates: neither is then taken for
    the other. Intervals take replicates with the same start as one."""
    factors: tuple[Overrides, ...] = Field(default=({},), min_length=1)
    """Blocks of treatments. A block gives each place a value or a list of values and stands for
    all combinations of them; a combination that stands in several blocks is run once."""

    @field_validator("factors")
    @classmethod
    def _values_are_given(cls, blocks: tuple[Overrides, ...]) -> tuple[Overrides, ...]:
        for block in blocks:
            for place, values in block.items():
                if values == []:
                    msg = f"{place}: the list of values must not be empty"
                    raise ValueError(msg)
        return blocks


class Quick(Design):
    """What ``--quick`` changes: ``set`` adds to the experiment's, lists replace its lists."""


class Experiment(Design):
    """Everything that defines an experiment."""

    name: Name
    """Name of the experiment and of its folder."""
    scenario: str = "default"
    """Shipped scenario, or YAML file, that all runs start from."""
    reduction_against: dict[Label, Overrides] = Field(default={})
    """Cost reductions to report: by name, what is changed in a treatment to get the one that it
    is compared with; ``null`` takes a place out of the treatment. The base cases of one comparison
    are left out of those that follow."""
    premium_over: dict[Label, Overrides] = Field(default={})
    """Additional costs to report, in the same form."""
    gains_over: dict[Label, Overrides] = Field(default={})
    """What each peer gains, in the same form; with it, the table tells the market's key figures,
    and who is worse off than in the treatment that his own is compared with."""
    figures: tuple[FigureName, ...] = ()
    """Pictures to draw; see ``simulation/figures.py``."""
    quick: Quick = Quick()
    """A smaller version of the experiment."""

    @model_validator(mode="after")
    def _runs_are_not_too_many(self) -> Experiment:
        combinations = sum(
            math.prod(len(values) if isinstance(values, list) else 1 for values in block.values())
            for block in self.factors
        )
        n = combinations * len(self.replicates)
        if n > RUNS:
            msg = f"factors and replicates stand for {n:,} runs; allowed are at most {RUNS:,}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _every_place_is_set_once(self) -> Experiment:
        places = {
            "set": set(self.set),
            "replicates": {place for replicate in self.replicates for place in replicate},
            "factors": {place for block in self.factors for place in block},
        }
        for one, other in itertools.combinations(places, 2):
            twice = sorted(
                a if len(a) > len(b) else b
                for a, b in itertools.product(places[one], places[other])
                if f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")
            )
            if twice:
                msg = f"{twice[0]} is set both in {one} and in {other}; allowed is one of them"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _replicates_leave_the_market_alone(self) -> Experiment:
        for place in {place for replicate in self.replicates for place in replicate}:
            if place.partition(".")[0] == "market":
                msg = f"replicates: {place} is no matter of chance; allowed is it among the factors"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _comparisons_have_a_reference(self) -> Experiment:
        for kind in ("reduction_against", "premium_over", "gains_over"):
            for name, change in getattr(self, kind).items():
                if not any(self.reference(treatment, change) for treatment in self.treatments):
                    msg = f"{kind}.{name}: no treatment differs from another one by {change}"
                    raise ValueError(msg)
        return self

    @cached_property
    def treatments(self) -> tuple[Overrides, ...]:
        """All combinations of the factors' values, each once, in the order of the file."""
        out: list[Overrides] = []
        for block in self.factors:
            lists = [values if isinstance(values, list) else [values] for values in block.values()]
            for values in itertools.product(*lists):
                treatment = dict(zip(block, values, strict=True))
                if treatment not in out:
                    out.append(treatment)
        return tuple(out)

    def reference(self, treatment: Overrides, change: Overrides) -> Overrides | None:
        """Return the treatment that differs by the change; none if there is no other such one."""
        merged = {**treatment, **change}
        changed = {place: value for place, value in merged.items() if value is not None}
        return changed if changed != treatment and changed in self.treatments else None

    def quickened(self) -> dict[str, Any]:
        """Return the settings of the smaller version."""
        given = {name: getattr(self.quick, name) for name in self.quick.model_fields_set}
        given["set"] = {**self.set, **self.quick.set}
        return {**self.model_dump(exclude={"quick"}), **given}
