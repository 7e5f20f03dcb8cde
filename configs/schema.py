"""The settings of a run: frozen, documented models that refuse unknown keys.

Units stand in the names; powers are in kW, energies in kWh, money in EUR, voltages in p.u.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from configs import limits

Share = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, le=limits.FIGURE, allow_inf_nan=False)]


def _no_speck(value: float) -> float:
    """Refuse positive numbers that are as good as zero."""
    if value < limits.LEAST_FIGURE:
        msg = f"should be at least {limits.LEAST_FIGURE:g}"
        raise ValueError(msg)
    return value


Positive = Annotated[
    float, Field(gt=0.0, le=limits.FIGURE, allow_inf_nan=False), AfterValidator(_no_speck)
]
BusNumber = Annotated[int, Field(ge=-limits.WHOLE_NUMBER, le=limits.WHOLE_NUMBER)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

MINUTES_PER_DAY = 1440


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where they would count as 1 and 0."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and wanted is not bool:
            msg = "should not be true or false"
            raise ValueError(msg)
        return value


def _plain(value: object) -> object:
    """Refuse lists, sections and nothing at all, with one message instead of one by type."""
    if not isinstance(value, bool | int | float | str):
        msg = "should be a number, a word, true or false"
        raise ValueError(msg)
    return value


StrategyParameters = dict[str, Annotated[bool | int | float | str, BeforeValidator(_plain)]]
"""Keyword arguments of a strategy."""


class Capacitor(Settings):
    """A fixed shunt capacitor."""

    bus: BusNumber
    """Bus number of the source data."""
    kvar: Positive
    """Reactive power injected at 1 p.u. [kvar]"""


class Population(Settings):
    """How the prosumers of one network are drawn; ``peer_table`` replaces the draw."""

    renewable_owner_share: Share = 0.5
    """Share of the load buses that own PV or wind."""
    renewable_to_peak: NonNegative = 1.6
    """Installed PV and wind over the network's peak load. [-]"""
    wind_fraction: Share = 0.25
    """Part of the installed renewable power that is wind."""
    battery_owner_share: Share = 0.5
    """Share of the renewable owners that own a battery."""
    battery_to_renewable: NonNegative = 0.4
    """Battery power over the owner's renewable rating. [-]"""
    battery_hours: Positive = 2.5
    """Battery energy over battery power. [h]"""
    n_dispatchable: int = Field(default=5, ge=0, le=limits.PEERS)
    """Number of dispatchable units in the network."""
    dispatchable_to_peak: NonNegative = 0.25
    """Power of all dispatchable units together over the network's peak load. [-]"""
    power_factor: Annotated[float, Field(gt=0.5, le=1.0)] = 0.995
    """Power factor at full power down to which inverters and machines supply or take reactive
    power. [-]"""
    flexible_owner_share: Share = 0.25
    """Share of the load buses with flexible load."""
    flexible_load_share: Share = 0.15
    """Flexible part of the network's peak load."""


class Network(Settings):
    """One distribution network and the peers on it."""

    name: Name
    """Name in all tables; unique in a run."""
    copies: int = Field(default=1, ge=1, le=1000)
    """Networks of this description, called ``<name>-1``, ``<name>-2`` and so on, each with a draw
    of peers of its own."""
    source: Literal["builtin", "pandapower", "pandapower_json", "matpower", "simbench", "csv"] = (
        "builtin"
    )
    """Where the network comes from."""
    case: str
    """``case85`` or ``case69``; a name in pandapower.networks; a file; a SimBench code; or the
    CSV file of the buses."""
    lines: str | None = None
    """The CSV file of the lines, with ``source: csv``."""
    source_vm_pu: Annotated[float, Field(ge=0.8, le=1.2)] | None = None
    """Voltage held at the substation bus; none: the value of the source data. [p.u.]"""
    load_scale: Positive = 1.0
    """Factor on the nominal loads of the source data. [-]"""
    v_min_pu: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    """Lower voltage limit of every bus. [p.u.]"""
    v_max_pu: Annotated[float, Field(gt=1.0, le=1.5)] = 1.05
    """Upper voltage limit of every bus. [p.u.]"""
    capacitors: tuple[Capacitor, ...] = Field(default=(), max_length=limits.CAPACITORS)
    """Shunt capacitors in addition to those of the source data."""
    rating_margin: Positive = 1.5
    """Lines without a rating in the source data, and the substation, are rated at this multiple
    of their loading at the nominal (unscaled) peak load without capacitors. [-]"""
    min_rating_a: Positive = 50.0
    """No line is rated below this current by that rule. [A]"""
    substation_kva: Positive | None = None
    """Substation rating; none: by ``rating_margin``. [kVA]"""
    population: Population = Population()
    """How peers are drawn."""
    peer_table: Path | None = None
    """CSV with one row a peer instead of a draw (columns: see the README)."""

    @model_validator(mode="after")
    def _copies_have_names(self) -> Network:
        longest = 60
        if self.copies > 1 and len(self.name) > longest:
            msg = f"name: with copies, at most {longest} characters, got {self.name!r}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _lines_go_with_csv(self) -> Network:
        if (self.source == "csv") != (self.lines is not None):
            msg = "lines names the CSV file of the lines: needed with source: csv, and only there"
            raise ValueError(msg)
        return self


MethodName = Literal[
    "deterministic",
    "gaussian",
    "moment",
    "empirical",
    "wasserstein_cvar",
    "wasserstein",
    "wasserstein_joint",
    "hypercube",
    "robust",
]

PricingName = Literal["dlmp", "uniform", "mid_market_rate", "supply_demand_ratio", "pay_as_bid"]

CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*")
"""``package.module:ClassName``, or with a dot in place of the colon."""


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    """Allow some names and the path of any class."""

    def known_or_path(name: str) -> str:
        if name not in names and not CLASS_PATH.fullmatch(name):
            known = ", ".join(map(repr, names))
            msg = f"should be {known}, or the path of a class, package.module:ClassName"
            raise ValueError(msg)
        return name

    return AfterValidator(known_or_path)


Method = Annotated[str, _one_of(get_args(MethodName))]
Pricing = Annotated[str, _one_of(get_args(PricingName))]

GridModel = Literal["ac_sensitivity", "lindistflow", "socp"]
Matching = Literal["proportional", "electrical_distance", "merit_order"]


class Market(Settings):
    """The clearing."""

    coordination: Literal["none", "within_network", "across_networks"] = "across_networks"
    """Who may trade with whom: nobody, peers of one network, all peers."""
    method: Method = "wasserstein_joint"
    """How the safety factor of the chance constraints is found: a name, or the path of a class of
    your own, ``package.module:ClassName``, which has to be allowed when the run is started."""
    risk_level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Largest violation probability per network and step: of all limits together with
    ``wasserstein_joint`` and ``hypercube``, of each by itself with the other methods."""
    radius_rule: Literal["fixed", "formula", "cross_validation"] = "cross_validation"
    """How the radius of the Wasserstein ball is found: see ``market/radius.py``."""
    radius: NonNegative = 5e-4
    """Radius with ``radius_rule: fixed``, in standard deviations (Mahalanobis metric). [-]"""
    radius_confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """Confidence of ``radius_rule: formula`` that the ball holds the true distribution."""
    sample_weights: Literal["equal", "recency", "similarity", "recency_similarity"] = "similarity"
    """Probabilities of the error samples: see ``market/conditional.py``."""
    forgetting_days: Positive = 30.0
    """Age at which a sample weighs 1/e of a fresh one, with ``recency``. [d]"""
    similarity_width: Positive = 1.0
    """Width of the kernel of ``similarity``, in standard deviations of the past forecasts. [-]"""
    renewable_setpoint: Literal["offset", "cap"] = "cap"
    """What a curtailed plant does with its forecast error: ``offset`` keeps the scheduled
    distance from what is available, ``cap`` never exceeds the scheduled power."""
    recourse_shares: Literal["common", "up_down"] = "up_down"
    """Whether a device answers surplus and shortage with one share or with one each."""
    recourse_pool: Literal["network", "all"] = "network"
    """Whose errors devices answer: those of their own network, or the sum over all networks."""
    second_stage: Literal["affine", "reoptimised"] = "affine"
    """Recourse by the cleared shares, or by a new dispatch that knows the error."""
    grid_model: GridModel = "ac_sensitivity"
    """Network model of the clearing: the AC power flow at the schedule and its sensitivities;
    LinDistFlow; or a branch-flow relaxation inside the problem, for which the operators share their
    impedances, with the AC power flow as its check."""
    horizon_hours: Positive = 24.0
    """Look-ahead window. [h]"""
    look_ahead_blocks: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, max_length=limits.WINDOW_STEPS
    )
    """Lengths of blocks of steps that decide as one and together span the window, such as
    ``[1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]``: a clearing in about half the time, at a small cost
    in optimality. Binding steps are blocks of their own. None: every step decides for itself."""
    cadence_steps: int = Field(default=1, ge=1, le=limits.WINDOW_STEPS)
    """Steps that one clearing binds: 1 is rolling, 24 hourly steps a day-ahead market."""
    max_passes: int = Field(default=6, ge=1, le=50)
    """Largest number of solve-and-relinearise passes of one clearing; up to twice as many as long
    as none keeps the promise."""
    violation_price_eur_per_pu_h: Positive = 5e5
    """Price of a constraint that cannot be kept, far above any market price. [EUR/(p.u. h)]"""
    pricing: Pricing = "mid_market_rate"
    """How trades between peers are priced: a name (see ``market/pricing.py``), or the path of a
    class of your own, which has to be allowed when the run is started."""
    matching: Matching = "merit_order"
    """How the pool's purchases and sales become bilateral trades: see ``market/matching.py``."""
    network_fee_rule: Literal["flat", "distance"] = "flat"
    """Whether every trade pays the full fee, or in proportion to the electrical distance between
    seller and buyer, the farthest pair paying the full one."""
    network_fee_within_eur_per_kwh: NonNegative = 0.07
    """Fee on energy bought from peers. [EUR/kWh]"""
    network_fee_across_eur_per_kwh: NonNegative = 0.01
    """Additional fee on energy bought from peers of another network. [EUR/kWh]"""
    uplift: Literal["load", "trades", "dso"] = "load"
    """Who gets what the DSO takes in beyond its expenses, and bears what it lacks, in every step:
    peers by their load, by what they traded, or nobody: the DSO keeps it. See
    ``market/uplift.py``."""
    imbalance_pricing: Literal["one_sided", "two_sided", "marginal"] = "one_sided"
    """Whether the sign of the imbalance of its recourse pool (its network, or all of them) or that
    of its own decides on the price of a peer's deviation."""
    loss_allocation: Literal["operator", "proportional", "marginal"] = "operator"
    """Who bears the losses: the network's operator; its peers by the energy they exchange with the
    grid; its peers by their marginal effect."""
    risk_allocation: Literal["socialised", "causation"] = "socialised"
    """Whether the DSO bears what safety margins and recourse capacity cost, or the peers whose
    forecast errors cause it."""
    final_storage: Literal["valued", "as_at_start"] = "valued"
    """Whether what batteries hold at the end of the run is only valued, or as much as at its start:
    see ``market/final_storage.py``."""
    risk_prices: bool = True
    """Whether the window is cleared once more without margins and reserves, which tells what part
    of every price is due to risk."""
    traders: Literal["everyone", "prosumers"] = "everyone"
    """Who may trade with peers: also pure consumers, or owners of generation or storage only."""
    price_floor_eur_per_kwh: NonNegative | None = None
    """No trade is priced below this. [EUR/kWh]"""
    price_cap_eur_per_kwh: NonNegative | None = None
    """No trade is priced above this, network fees left out. [EUR/kWh]"""
    bid_format: Literal["quadratic", "blocks"] = "quadratic"
    """Whether dispatchable units bid their cost curve, or price-quantity blocks along it."""
    bid_blocks: int = Field(default=4, ge=1, le=50)
    """Largest number of blocks of one offer, with ``bid_format: blocks``."""
    exchange_limit_kw: Positive | dict[Name, Positive] | None = None
    """Largest P2P export or import of every network, or of some by name; none: unlimited. [kW]"""
    solver: Literal["central", "decomposed"] = "central"
    """Whether all networks are one problem, or each solves its own and the DSO coordinates the
    exchange by its price: see ``market/exchange.py``."""
    solver_workers: int = Field(default=1, ge=1, le=limits.NETWORKS)
    """Processes of this machine among which ``solver: decomposed`` shares out the networks."""
    solver_scheduler: Annotated[str, Field(min_length=1)] | None = None
    """Address of a Dask scheduler, such as ``tcp://127.0.0.1:8786``, whose workers
    ``solver: decomposed`` takes instead of processes of this machine."""
    exchange_tolerance: Annotated[float, Field(gt=0.0, le=0.1)] = 1e-3
    """By how much a network's exchange may differ from what was agreed, over the largest exchange,
    with ``solver: decomposed``. [-]"""
    exchange_gap: Annotated[float, Field(gt=0.0, le=0.1)] = 1e-5
    """By how much the cost may exceed the optimum, over what all load would pay the supplier, with
    ``solver: decomposed``. [-]"""
    max_exchange_iterations: int = Field(default=200, ge=1, le=10_000)
    """After how many prices ``solver: decomposed`` stops and says how good the schedule is."""

    @model_validator(mode="after")
    def _networks_can_be_taken_apart(self) -> Market:
        if self.solver == "decomposed":
            if self.recourse_pool != "network":
                msg = f"solver decomposed needs recourse_pool network, got {self.recourse_pool}"
                raise ValueError(msg)
            if self.grid_model == "socp":
                msg = (
                    "solver decomposed is not for grid_model socp; ac_sensitivity and "
                    "lindistflow are allowed"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _floor_is_below_cap(self) -> Market:
        floor, cap = self.price_floor_eur_per_kwh, self.price_cap_eur_per_kwh
        if floor is not None and cap is not None and floor > cap:
            msg = f"price_floor_eur_per_kwh {floor} must not exceed price_cap_eur_per_kwh {cap}"
            raise ValueError(msg)
        return self


class Prices(Settings):
    """The supplier's tariff: spot price plus constants; see ``simulation/prices.py``."""

    file: Path | None = None
    """CSV or Parquet with columns ``time`` and ``spot_eur_per_kwh`` instead of the synthetic
    spot series."""
    spot_mean_eur_per_kwh: NonNegative = 0.029
    """Mean of the synthetic spot price. [EUR/kWh]"""
    spot_daily_amplitude_eur_per_kwh: NonNegative = 0.010
    """Amplitude of its daily shape. [EUR/kWh]"""
    spot_weekend_discount_eur_per_kwh: NonNegative = 0.006
    """How much lower it is at weekends. [EUR/kWh]"""
    spot_noise_eur_per_kwh: NonNegative = 0.004
    """Standard deviation of its seeded autoregressive noise. [EUR/kWh]"""
    retail_adder_eur_per_kwh: NonNegative = 0.225
    """Supplier's selling price above spot: levies, taxes, network charge, margin. [EUR/kWh]"""
    feed_in_eur_per_kwh: NonNegative = 0.11
    """Supplier's buying price for renewable and other injections. [EUR/kWh]"""
    feed_in_below_spot_eur_per_kwh: NonNegative | None = None
    """If given, the supplier buys at the spot price less this, but not below zero, instead of at a
    constant price. [EUR/kWh]"""
    loss_adder_eur_per_kwh: NonNegative = 0.01
    """Price of network losses above spot. [EUR/kWh]"""
    imbalance_buy_factor: Annotated[float, Field(ge=1.0, le=100.0, allow_inf_nan=False)] = 1.15
    """Imbalance price of a shortage over the supplier's selling price. [-]"""
    imbalance_sell_factor: Share = 0.5
    """Imbalance price of a surplus over the supplier's buying price. [-]"""

    @model_validator(mode="after")
    def _selling_is_dearer_than_buying(self) -> Prices:
        constant = self.feed_in_below_spot_eur_per_kwh is None and self.file is None
        if constant and self.retail_adder_eur_per_kwh < self.feed_in_eur_per_kwh:
            msg = (
                f"retail_adder_eur_per_kwh {self.retail_adder_eur_per_kwh} must be at least "
                f"feed_in_eur_per_kwh {self.feed_in_eur_per_kwh}: otherwise buying in order to "
                "sell would pay without limit"
            )
            raise ValueError(msg)
        return self


class Profiles(Settings):
    """Load and renewable profiles."""

    file: Path | None = None
    """CSV or Parquet with a ``time`` column (UTC) and one column per profile instead of the
    bundled SimBench extract."""


class Forecast(Settings):
    """Forecasts and the error samples the ambiguity sets are built from."""

    file: Path | None = None
    """CSV or Parquet with a ``time`` column (UTC) and profile columns: a forecast series known in
    advance that replaces the built-in forecaster for these columns."""
    climatology_days: int = Field(default=28, ge=1, le=180)
    """Past days behind the climatology. [d]"""
    persistence_hours: Positive = 6.0
    """Time constant with which the present departure from the climatology fades. [h]"""
    sample_days: int = Field(default=60, ge=2, le=366)
    """Trailing window of the error samples. [d]"""
    sample_hours: int = Field(default=1, ge=0, le=12)
    """Samples come from target hours within plus or minus this of the hour of day. [h]"""
    perfect_foresight: bool = False
    """Forecasts are the truth: a benchmark without forecast errors. It is no bound, as the window
    still ends."""


class StrategyUse(Settings):
    """Who uses a strategy, and from when on.

    Of the peers that ``network`` and ``among`` allow, ``share`` are chosen at random from those
    that no entry before and no peer table has given a strategy; where these are fewer, all of
    them. The peers of a smaller share are among those of a larger one.
    """

    use: str
    """Name of the strategy, see ``agents/strategies/registry.py``, or the path of a class of your
    own, ``package.module:ClassName``, which has to be allowed when the run is started."""
    share: Share = 1.0
    """Share of the allowed peers of every network."""
    network: Name | None = None
    """Network of the peers; none: all networks."""
    among: Literal["everyone", "consumers", "prosumers", "storage", "dispatchable"] = "everyone"
    """Whether all peers are allowed, those without generation and storage, those with either, or
    the owners of a battery or of a dispatchable unit."""
    parameters: StrategyParameters = Field(default={}, max_length=limits.PARAMETERS)
    """Parameters of the strategy, by name."""
    from_day: int = Field(default=1, ge=1, le=limits.WHOLE_NUMBER)
    """Day of the run from which on it is used; the peers bid truthfully before. [d]"""
    coalition: bool = False
    """Whether the peers share one strategy, which learns from the sum of what they get."""


class OutOfSample(Settings):
    """Monte Carlo check of cleared steps with errors that their clearing did not know."""

    cadence_steps: int = Field(default=0, ge=0, le=limits.WHOLE_NUMBER)
    """Every how many steps a check is made; 0: never."""
    days: int = Field(default=30, ge=1, le=366)
    """Days whose errors are drawn on: the step's own day and those after it. [d]"""


class Emissions(Settings):
    """Intensities for the emissions of a run; without them none are reported."""

    grid_kg_per_kwh: NonNegative | None = None
    """Of energy from the upstream grid. [kg CO2/kWh]"""
    dispatchable_kg_per_kwh: NonNegative | None = None
    """Of energy from dispatchable units. [kg CO2/kWh]"""


class ScenarioConfig(Settings):
    """Everything that defines a run."""

    name: Name = "default"
    """Name of the scenario."""
    start: dt.date = dt.date(2016, 6, 1)
    """First day, at 00:00 UTC."""
    days: int = Field(default=30, ge=1, le=3660)
    """Length of the run. [d]"""
    step_minutes: int = Field(default=60, ge=5, le=240)
    """Time step; a divisor of a day. [min]"""
    seed: int = Field(default=1, ge=0, le=limits.SEED)
    """Seed of every random stream of the run."""
    networks: tuple[Network, ...] = Field(min_length=1, max_length=limits.NETWORKS)
    """The distribution networks."""
    market: Market = Market()
    """The clearing."""
    prices: Prices = Prices()
    """The supplier's tariff."""
    profiles: Profiles = Profiles()
    """Load and renewable profiles."""
    forecast: Forecast = Forecast()
    """Forecasts and error samples."""
    out_of_sample: OutOfSample = OutOfSample()
    """Monte Carlo checks."""
    emissions: Emissions = Emissions()
    """Emission intensities."""
    max_uncertified_share: Share = 0.01
    """A run whose clearings do not keep their promise in a larger share of the network-steps than
    this ends with exit code 3, as one whose limits cannot be kept. [-]"""
    max_fallback_share: Share = 0.01
    """Largest share of the steps in which a solver may fail, whatever stood in for it: above it,
    the run ends with exit code 3."""
    strategies: tuple[StrategyUse, ...] = Field(default=(), max_length=limits.STRATEGIES)
    """Who uses which strategy; the others bid truthfully."""
    strategy_state: Path | None = None
    """File ``strategies.json`` of another run, from which this one continues what was learnt."""

    @field_validator("step_minutes")
    @classmethod
    def _divides_a_day(cls, minutes: int) -> int:
        if MINUTES_PER_DAY % minutes:
            msg = f"{minutes} must divide a day ({MINUTES_PER_DAY} min)"
            raise ValueError(msg)
        return minutes

    @field_validator("networks")
    @classmethod
    def _written_out(cls, networks: tuple[Network, ...]) -> tuple[Network, ...]:
        """Write every copy of a network out as one of its own."""
        n = sum(network.copies for network in networks)
        if n > limits.NETWORKS:
            msg = f"{n:,} networks, copies counted; allowed are at most {limits.NETWORKS:,}"
            raise ValueError(msg)
        return tuple(
            network
            if network.copies == 1
            else network.model_copy(update={"name": f"{network.name}-{k + 1}", "copies": 1})
            for network in networks
            for k in range(network.copies)
        )

    @model_validator(mode="after")
    def _sizes_are_bearable(self) -> ScenarioConfig:
        if self.n_window_steps > limits.WINDOW_STEPS:
            msg = (
                f"market.horizon_hours {self.market.horizon_hours:g} are {self.n_window_steps:,} "
                f"steps of step_minutes {self.step_minutes}; allowed are at most "
                f"{limits.WINDOW_STEPS:,}"
            )
            raise ValueError(msg)
        forecast, checks = self.forecast, self.out_of_sample
        for place, days in (
            ("forecast.sample_days", forecast.sample_days),
            ("out_of_sample.days", checks.days if checks.cadence_steps else 0),
        ):
            n = days * min(
                2 * forecast.sample_hours * 60 // self.step_minutes + 1, self.steps_per_day
            )
            if n > limits.SAMPLES:
                msg = (
                    f"{place} {days}, forecast.sample_hours {forecast.sample_hours} and "
                    f"step_minutes {self.step_minutes} give {n:,} error samples; allowed are at "
                    f"most {limits.SAMPLES:,}"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> ScenarioConfig:
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            msg = f"networks: two are called {twice!r}; names must be unique"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _limited_networks_exist(self) -> ScenarioConfig:
        limits, names = self.market.exchange_limit_kw, [network.name for network in self.networks]
        unknown = set(limits) - set(names) if isinstance(limits, dict) else set()
        if unknown:
            msg = f"market.exchange_limit_kw: no network {min(unknown)!r}; networks are {names}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _strategies_are_used_in_networks(self) -> ScenarioConfig:
        names = [network.name for network in self.networks]
        for place, use in enumerate(self.strategies):
            if use.network is not None and use.network not in names:
                msg = (
                    f"strategies.{place}.network: no network {use.network!r}; networks are {names}"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _window_covers_the_binding_steps(self) -> ScenarioConfig:
        if self.market.cadence_steps > self.n_window_steps:
            msg = (
                f"market.cadence_steps {self.market.cadence_steps} must not exceed the window of "
                f"{self.n_window_steps} steps (market.horizon_hours)"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _blocks_span_the_window(self) -> ScenarioConfig:
        blocks, binding = self.market.look_ahead_blocks, self.market.cadence_steps
        if blocks is None:
            return self
        if sum(blocks) != self.n_window_steps:
            msg = (
                f"market.look_ahead_blocks have {sum(blocks)} steps; the window has "
                f"{self.n_window_steps} (market.horizon_hours)"
            )
            raise ValueError(msg)
        if max(blocks[:binding]) > 1:
            msg = (
                f"market.look_ahead_blocks {list(blocks)}: the first {binding} (as many as "
                "market.cadence_steps) must be of one step"
            )
            raise ValueError(msg)
        return self

    @property
    def step_hours(self) -> float:
        """Length of a step. [h]"""
        return self.step_minutes / 60

    @property
    def steps_per_day(self) -> int:
        """Steps in a day."""
        return MINUTES_PER_DAY // self.step_minutes

    @property
    def n_window_steps(self) -> int:
        """Steps in the look-ahead window, at least one."""
        return max(1, round(self.market.horizon_hours * 60 / self.step_minutes))

    @property
    def n_steps(self) -> int:
        """Steps in the run."""
        return self.days * self.steps_per_day
