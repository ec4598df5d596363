"""Draws the benchmark's picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

SUBJECTS = {"hello world": "hello world", "status": "status (ours)", "Rust, all defaults": "Rust, all defaults", "Node": "Node 20", "Python": "Python 3.11"}
PANELS = [("init + first call at 128 MB, ms", "cold_wall", "{:,.0f}"), ("CPU of a warm call that asks the vendor, ms", "warm_cpu", "{:.2f}"),
          ("peak memory, MB", "peak_mb", "{:.0f}")]


def draw(times: Mapping[str, Any], file: Path) -> None:
    """Three panels of horizontal bars with their values, on logarithmic scales because they differ by factors of hundreds."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    for axes, (title, measure, form) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        calls = {name: times[name]["calls"].get("asks the vendor") or times[name]["calls"]["hello"] for name in SUBJECTS}
        values = [times[name].get(measure, calls[name].get(measure)) for name in reversed(SUBJECTS)]
        axes.barh(list(SUBJECTS.values())[::-1], values, color=["#1b7f5a" if name == "status" else "#b0b7bd" for name in reversed(SUBJECTS)])
        axes.set(xscale="log", xlim=(min(values) / 2.5, max(values) * 6))
        axes.set_title(title, fontsize=10, loc="left")
        for index, value in enumerate(values):
            axes.text(value * 1.12, index, form.format(value), va="center", fontsize=9)
        axes.xaxis.set_visible(False)
        axes.tick_params(length=0)
        axes.set_frame_on(False)
    figure.savefig(file, metadata={"Date": None})
