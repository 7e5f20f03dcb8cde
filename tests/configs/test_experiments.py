"""Experiments: those shipped, how treatments unfold, and faults that name their place."""

import datetime as dt
import itertools
from collections import Counter
from typing import get_args

import pytest
import yaml

from configs.experiment_schema import Experiment
from configs.loading import ConfigError, dump, load, load_experiment, load_run, shipped
from configs.schema import PricingName

SHIPPED = shipped("experiments")


@pytest.fixture
def save(tmp_path):
    def write(text: str, name: str = "experiment.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def experiment(**settings) -> Experiment:
    return Experiment.model_validate({"name": "e", **settings})


# --- what is shipped --------------------------------------------------------------------------


def test_the_papers_experiment():
    paper = load_experiment("paper")
    pairs = {(t["market.coordination"], t["market.method"]) for t in paper.treatments}
    methods = {method for _, method in pairs}
    assert len(methods) == 9
    assert pairs == set(itertools.product(("none", "within_network", "across_networks"), methods))
    assert sum("forecast.perfect_foresight" in t for t in paper.treatments) == 1
    assert len(paper.treatments) == 3 * 9 + 1


def test_the_reliability_study():
    study = load_experiment("reliability")
    levels = {
        t["market.risk_level"]
        for t in study.treatments
        if t["market.method"] == "wasserstein_joint" and "market.risk_level" in t
    }
    assert levels == {0.01, 0.02, 0.05, 0.1, 0.2}
    assert {t["market.method"] for t in study.treatments} == {
        t["market.method"] for t in load_experiment("paper").treatments
    }


def test_the_tariff_study():
    """Every treatment with trade has its reference under the same tariff."""
    for quick in (False, True):
        study = load_experiment("tariff", quick=quick)
        without = {"market.coordination": "none"}
        pairs = [(t, study.reference(t, without)) for t in study.treatments]
        traded = [(t, other) for t, other in pairs if t["market.coordination"] != "none"]
        adder = "prices.retail_adder_eur_per_kwh"
        assert all(other is not None and other[adder] == t[adder] for t, other in traded)
        assert {t[adder] for t, _ in traded} == {0.225, 0.01}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("quick", [False, True])
def test_seeds_and_starts_are_crossed(name, quick):
    replicates = load_experiment(name, quick=quick).replicates
    seeds, starts = (
        {str(replicate[place]) for replicate in replicates} for place in ("seed", "start")
    )
    pairs = [(str(replicate["seed"]), str(replicate["start"])) for replicate in replicates]
    assert sorted(pairs) == sorted(itertools.product(seeds, starts))
    assert quick or (len(seeds) > 1 and len(starts) > 1)


def test_the_market_design_study():
    study = load_experiment("market_design")
    (without,) = [t for t in study.treatments if t["market.coordination"] == "none"]
    designs = [t for t in study.treatments if t is not without]
    change = study.gains_over["no_coordination"]
    assert all(study.reference(design, change) == without for design in designs)
    fees = Counter(
        (t["market.network_fee_rule"], t["market.network_fee_within_eur_per_kwh"]) for t in designs
    )
    assert fees == {("flat", 0.07): 10, ("flat", 0.03): 10, ("distance", 0.07): 10}
    assert {t["market.pricing"] for t in designs} == set(get_args(PricingName))


@pytest.mark.parametrize("quick", [False, True])
def test_the_study_of_behaviour(quick):
    """Every strategy is compared with the truth on the same draws, up to all peers."""
    study = load_experiment("behaviour", quick=quick)
    truth = study.treatments[0]
    assert truth == {"strategies": []}
    shares = {}
    for treatment in study.treatments[1:]:
        assert study.reference(treatment, study.gains_over["truth"]) == truth
        (use,) = load_run(study, treatment).strategies
        shares.setdefault(use.use, []).append(use.share)
    expected = [0.5, 1.0] if quick else [0.25, 0.5, 1.0]
    assert shares == dict.fromkeys(("markup", "misreporting", "roth_erev"), expected)
    assert load_run(study, {}).out_of_sample.cadence_steps > 0


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_experiments_are_valid_in_every_run(name, quick):
    shipped_one = load_experiment(name, quick=quick)
    assert shipped_one.name == name
    configs = [
        load_run(shipped_one, {**treatment, **replicate})
        for treatment in shipped_one.treatments
        for replicate in shipped_one.replicates
    ]
    assert len({dump(config) for config in configs}) == len(configs)


@pytest.mark.parametrize("name", SHIPPED)
def test_quick_is_smaller(name):
    full, quick = load_experiment(name), load_experiment(name, quick=True)
    assert len(quick.treatments) < len(full.treatments)
    assert len(quick.replicates) <= len(full.replicates)
    assert quick.figures == full.figures
    assert load_run(quick, quick.replicates[0]).days <= 2


# --- treatments -------------------------------------------------------------------------------


def test_blocks_unfold_in_the_order_of_the_file():
    blocks = [{"days": [1, 2], "seed": [3, 4]}, {"days": 2, "seed": [4, 5]}, {}]
    assert experiment(factors=blocks).treatments == (
        {"days": 1, "seed": 3},
        {"days": 1, "seed": 4},
        {"days": 2, "seed": 3},
        {"days": 2, "seed": 4},
        {"days": 2, "seed": 5},
        {},
    )


def test_without_factors_there_is_the_scenario_alone():
    assert experiment().treatments == ({},)
    assert experiment().replicates == ({},)


def test_a_list_as_value_stands_in_a_list():
    capacitors = [{"bus": 8, "kvar": 50}]
    treatments = experiment(factors=[{"networks.0.capacitors": [[], capacitors]}]).treatments
    assert [t["networks.0.capacitors"] for t in treatments] == [[], capacitors]


def test_references():
    e = experiment(factors=[{"a": [1, 2], "b": [1, 2]}, {"a": 3}])
    assert e.reference({"a": 2, "b": 1}, {"a": 1}) == {"a": 1, "b": 1}
    assert e.reference({"a": 2, "b": 1}, {"a": 3, "b": None}) == {"a": 3}
    assert e.reference({"a": 1, "b": 1}, {"a": 1}) is None, "not with itself"
    assert e.reference({"a": 2, "b": 1}, {"a": 3}) is None, "no such treatment"
    assert e.reference({"a": 3}, {"a": 1}) is None, "b would have no value"


# --- runs -------------------------------------------------------------------------------------


def test_settings_of_a_run_are_put_over_those_of_all_runs(save):
    name = save("{name: e, set: {days: 2, networks.case85.load_scale: 0.9, market.radius: 0.1}}")
    config = load_run(load_experiment(name), {"market.method": "moment", "start": "2016-07-01"})
    assert config == load(
        "default",
        [
            "days=2",
            "networks.case85.load_scale=0.9",
            "market.radius=0.1",
            "market.method=moment",
            "start=2016-07-01",
        ],
    )
    assert config.start == dt.date(2016, 7, 1)


def test_the_command_line_has_the_last_word(save):
    name = save("{name: e, set: {days: 2}, quick: {set: {seed: 5}}}")
    assert load_experiment(name, ["days=3"]).set == {"days": 3}
    assert load_experiment(name, ["seed=6"], quick=True).set == {"days": 2, "seed": 6}


def test_scenarios_are_found_from_the_experiments_file(save, tmp_path, monkeypatch):
    save("networks: [{name: n, case: case69}]\ndays: 7", "own.yaml")
    name = save("{name: e, scenario: own.yaml}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = load_experiment(name)
    assert load_run(found, {}).days == 7
    assert load_run(load_experiment(save(dump(found), "elsewhere/again.yaml")), {}).days == 7


@pytest.mark.parametrize("quick", [False, True])
def test_an_experiment_as_it_was_run_can_be_run_again(save, quick):
    once = load_experiment("paper", ["days=1"], quick=quick)
    again = load_experiment(save(dump(once)))
    assert again.treatments == once.treatments
    assert [load_run(again, r) for r in again.replicates] == [
        load_run(once, r) for r in once.replicates
    ]
    assert "quick" not in yaml.safe_load(dump(once))


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenario: default", "name is missing"),
        ("{name: e, factor: []}", r"unknown key factor; did you mean factors\?"),
        ("{name: e, factors: {days: [1]}}", "factors: .*tuple"),
        ("{name: e, factors: []}", "factors: .*at least 1"),
        ("{name: e, factors: [{days: []}]}", "days: the list of values must not be empty"),
        ("{name: e, replicates: []}", "replicates: .*at least 1"),
        ("{name: e, replicates: [1]}", "replicates.0: "),
        ("{name: e, set: {market.: 1}}", r"market\.: |set\.market\.\.\[key\]: "),
        ("{name: e, figures: [pie]}", "figures.0: .*'cost'.*'pie'"),
        ("{name: e, quick: {name: f}}", "unknown key quick.name"),
        ("{name: e, set: {seed: 1}, replicates: [{seed: 2}]}", "seed is set both in set and in"),
        (
            "{name: e, set: {market: {}}, factors: [{market.method: moment}]}",
            "market.method is set both in set and in factors",
        ),
        ("{name: e, replicates: [{market.radius: 1}]}", "market.radius .*among the factors"),
        (
            "{name: e, premium_over: {plain: {market.method: robust}}}",
            "premium_over.plain: no treatment differs .*robust",
        ),
        (
            "{name: e, factors: [{market.coordination: within_network, market.pricing: [dlmp]}], "
            "gains_over: {nothing: {market.coordination: none, market.pricing: null}}}",
            "gains_over.nothing: no treatment differs .*'market.coordination': 'none'",
        ),
        ("{name: e, premium_over: {A-B: {}}}", "premium_over.*pattern"),
        ("- a", "must be a mapping"),
    ],
)
def test_bad_experiments(save, text, message):
    name = save(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment(name)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_an_override_of_a_factor_is_refused():
    with pytest.raises(ConfigError, match=r"market\.method is set both in set and in factors"):
        load_experiment("paper", ["market.method=moment"])


def test_unknown_experiments():
    with pytest.raises(ConfigError, match=r"^papers: .*shipped experiment .*paper, reliability"):
        load_experiment("papers")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"market.riskk_level": 1}, "unknown key market.riskk_level; did you mean risk_level"),
        ({"market.method": "guess"}, "market.method: .*'robust'.*'guess'"),
        ({"networks.north.load_scale": 1}, "networks.north.load_scale=1: no entry 'north'"),
    ],
)
def test_bad_settings_of_a_run(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_run(experiment(), settings)


def test_settings_inside_others_leave_other_runs_alone():
    """A factor changes one value of a list that all runs have."""
    entries = [{"use": "zero_intelligence", "share": 0.25}]
    experiment = Experiment(name="x", scenario="smoke", set={"strategies": entries})
    shares = [
        load_run(experiment, settings).strategies[0].share
        for settings in ({"strategies.0.share": 0.5}, {})
    ]
    assert shares == [0.5, 0.25]
