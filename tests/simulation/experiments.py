"""An experiment as it lies in its folder, made up by hand."""

from math import nan

import pandas as pd


def write_experiment(folder, **changes):
    """Write table, index and effects of two treatments on two replicates."""
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text("name: tiny\nscenario: smoke\n", encoding="utf-8")
    names = ["none, robust", "across_networks, robust"]
    table = pd.DataFrame(
        {
            "treatment": names,
            "market.coordination": ["none", "across_networks"],
            "market.method": "robust",
            "market.risk_level": 0.05,
            "runs": 2,
            "finished": 2,
            **with_ends("cost_eur", [100.0, 90.0]),
            **with_ends("adjusted_cost_eur", [100.0, 80.0]),
            **with_ends("reduction_against_no_coordination_percent", [float("nan"), 20.0]),
            **with_ends("violation_all_rate", [0.02, 0.01], 0.005),
            **with_ends("violation_binding_rate", [0.10, 0.03], 0.015),
            "violation_all_events": [2, 1],
            "violation_all_steps": [96, 96],
            "violation_binding_events": [2, 1],
            "violation_binding_steps": [20, 33],
            **with_ends("gains_over_no_coordination_mean_consumer_eur", [float("nan"), 1.0]),
            **with_ends("adjusted_resource_cost_eur", [50.0, 55.0]),
            **with_ends("reduction_against_no_coordination_in_resources_percent", [nan, -10.0]),
            **with_ends("gains_over_no_coordination_saved_at_tariff_eur", [nan, 12.0]),
            **with_ends("gains_over_no_coordination_saved_resources_eur", [nan, -5.0]),
            "uncertified_clearings": [3, 0],
            "fallback_clearings": [0, 1],
            "clearings": [48, 48],
            "seconds_per_day": [2.0, 3.0],
        }
    )
    index = pd.DataFrame(
        {
            "run_id": [f"run-{k}" for k in range(4)],
            "treatment": [names[0], names[0], names[1], names[1]],
            "replicate": [1, 2, 1, 2],
            "status": "finished",
            "error": None,
            "cost_eur": [99.0, 101.0, 89.0, 91.0],
            "traded_within_kwh": [0.0, 0.0, 5.0, 7.0],
            "traded_across_kwh": [0.0, 0.0, 1.0, 1.0],
        }
    )
    effects = pd.DataFrame(
        {
            "factor": "market.coordination",
            "level": ["across_networks"],
            "reference": "none",
            "figure": "adjusted_cost_eur",
            "mean_difference": -20.0,
            "low": -25.0,
            "high": -15.0,
            "replicates": 2,
            "pairs": 2,
        }
    )
    for name, rows in {"table": table, "index": index, "effects": effects, **changes}.items():
        rows.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def with_ends(name, values, half=5.0):
    """Columns of a mean and of its interval."""
    return {
        name: values,
        f"{name}_low": [value - half for value in values],
        f"{name}_high": [value + half for value in values],
    }
