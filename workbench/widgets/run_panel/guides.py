"""What a deciding curve is read against at this moment: guide lines, and a few words beside it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.runs.verdict import Trend, mean_width, trend_of
from workbench.widgets.run_panel.curves import Guide

Columns = Mapping[str, Sequence[float]]


def guides_now(kind: str, columns: Columns, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Guides and words by the metric of the chart's first curve.

    Args:
        kind: sft, reward, dpo or ppo.
        columns: ``step`` and the metrics, one value a row; NaN where a row has none.
        settings: as they are now.

    Returns:
        ``{metric: {"guides": [[value, words], …], "note": text}}``; a metric without either is
        left out.
    """
    if kind == "ppo":
        return _price(columns, settings)
    if kind == "reward" and (longer := _last(columns, "heldout/longer_wins")) is not None:
        guide = Guide(longer, f"{longer:.0%}: the longer answer wins")
        return {"heldout/accuracy": {"guides": [list(guide)], "note": ""}}
    return {}


def _price(columns: Columns, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What KL costs, and at how many nats it has cost all that the score has gained."""
    steps = columns.get("step", ())
    kl, score = (_trend(steps, columns, name) for name in ("objective/kl", "objective/scores"))
    price = _last(columns, "kl_coef")
    if price is None:
        price = settings.get("kl_coef")
    if kl is None or not isinstance(price, int | float):
        return {}
    if price <= 0:
        return {"objective/kl": {"guides": [], "note": "free: kl_coef is 0, nothing holds it"}}
    note = f"at {price:.3g} a nat it costs {price * max(kl.now, 0.0):.2f} points"
    guides: list[Guide] = []
    if settings.get("kl_control") == "adaptive":
        target = float(settings["adaptive_kl_target"])
        guides.append(Guide(target, f"{target:.3g} nats: where kl_coef is moved to hold it"))
    elif score is not None and score.now - score.start > 0.02:
        even = (score.now - score.start) / price
        guides.append(Guide(even, f"{even:.2g} nats would cost all that was gained"))
    return {"objective/kl": {"guides": [list(guide) for guide in guides], "note": note}}


def _trend(steps: Sequence[float], columns: Columns, name: str) -> Trend | None:
    return trend_of(steps, columns[name], mean_width(len(steps))) if name in columns else None


def _last(columns: Columns, metric: str) -> float | None:
    return next(
        (value for value in reversed(columns.get(metric, ())) if math.isfinite(value)), None
    )
