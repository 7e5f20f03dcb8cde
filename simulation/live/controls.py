"""The settings that the live page offers, and the scenario that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from configs.schema import Market, MethodName, PricingName, ScenarioConfig, StrategyUse

if TYPE_CHECKING:
    from collections.abc import Mapping

RADII = ("0", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01")
"""Fixed radii on offer, in standard deviations."""
RULES = ("cross_validation", "formula")
COORDINATION = ("none", "within_network", "across_networks")
MARKUP = 0.1
"""What strategic peers ask in a scenario without any. [-]"""


def model_params(config: ScenarioConfig) -> dict[str, Any]:
    """Describe the controls in the form of Mesa's ``model_params``, at the scenario's values."""
    market = config.market
    radius = f"{market.radius:g}" if market.radius_rule == "fixed" else market.radius_rule
    return {
        "scenario": config,
        "risk_level": _slider("Risk level", market.risk_level, 0.005, 0.3, 0.005),
        "method": _select("Method", market.method, get_args(MethodName)),
        "radius": _select("Radius: rule, or fixed", radius, (*RULES, *RADII)),
        "coordination": _select("Coordination", market.coordination, COORDINATION),
        "pricing": _select("Pricing", market.pricing, get_args(PricingName)),
        "strategic_share": _slider("Strategic peers", _share(config), 0.0, 1.0, 0.05),
    }


def labelled(params: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the present values into the labels of the sliders, which do not show them."""
    out = dict(params)
    for name, form in (("risk_level", ".3g"), ("strategic_share", ".0%")):
        if name in params:
            value = values.get(name, params[name]["value"])
            out[name] = {**params[name], "label": f"{params[name]['label']}: {value:{form}}"}
    return out


def changed(config: ScenarioConfig, values: Mapping[str, Any]) -> ScenarioConfig:
    """Return a scenario with the values of the controls, see :func:`model_params`.

    Raises
    ------
    ValueError
        If they make no valid scenario.
    """
    radius = str(values["radius"])
    settings: dict[str, Any] = {
        name: values[name] for name in ("method", "coordination", "pricing")
    }
    settings["risk_level"] = round(float(values["risk_level"]), 4)
    if radius in RULES:
        settings["radius_rule"] = radius
    else:
        settings |= {"radius_rule": "fixed", "radius": float(radius)}
    share = round(float(values["strategic_share"]), 4)
    strategies = config.strategies
    if share != _share(config):
        strategies = tuple(use.model_copy(update={"share": share}) for use in strategies) or (
            StrategyUse(use="markup", share=share, parameters={"markup": MARKUP}),
        )
    try:
        market = Market.model_validate({**dict(config.market), **settings})
        return ScenarioConfig.model_validate(
            {**dict(config), "market": market, "strategies": strategies}
        )
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(faults) from error


def in_words(config: ScenarioConfig) -> str:
    """Tell the settings in force."""
    market = config.market
    radius = f"{market.radius:g}" if market.radius_rule == "fixed" else market.radius_rule
    return (
        f"risk level {market.risk_level:g}, method {market.method}, radius {radius}, "
        f"coordination {market.coordination}, pricing {market.pricing}"
    )


def _share(config: ScenarioConfig) -> float:
    return config.strategies[0].share if config.strategies else 0.0


def _select(label: str, value: str, values: tuple[str, ...]) -> dict[str, Any]:
    """Offer values, that of the scenario among them."""
    offered = list(values) if value in values else [*values, value]
    return {"type": "Select", "label": label, "value": value, "values": offered}


def _slider(label: str, value: float, low: float, high: float, step: float) -> dict[str, Any]:
    return {
        "type": "SliderFloat",
        "label": label,
        "value": value,
        "min": min(low, value),
        "max": max(high, value),
        "step": step,
    }
