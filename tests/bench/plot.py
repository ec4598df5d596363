#!/usr/bin/env python3
"""Draws the benchmark's picture: results.json in, an SVG out. Runs under the Python that has matplotlib."""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OURS, PEERS = "#1b7f5a", "#b0b7bd"
SUBJECTS = {"hello world": "hello world", "status": "status (ours)", "Rust, all defaults": "Rust, all defaults", "Node": "Node 20", "Python": "Python 3.11"}


def bars(axes: Any, title: str, values: dict[str, float], form: str) -> None:
    """Horizontal bars, the values written beside them; a logarithmic scale, since they are worlds apart."""
    names = list(values)[::-1]
    heights = [values[name] for name in names]
    axes.barh(names, heights, color=[OURS if "ours" in name else PEERS for name in names])
    axes.set_xscale("log")
    axes.set_xlim(min(heights) / 2.5, max(heights) * 6)
    axes.set_title(title, fontsize=10, loc="left")
    for index, height in enumerate(heights):
        axes.text(height * 1.12, index, form.format(height), va="center", fontsize=9)
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def main() -> None:
    """Command line: results.json, picture."""
    with open(sys.argv[1], encoding="utf-8") as handle:
        figures = json.load(handle)
    times = {name: figures["times"][name] for name in SUBJECTS}

    def of_call(name: str, figure: str) -> float:
        calls = times[name]["calls"]
        return (calls.get("asks the vendor") or calls["hello"])[figure]

    figure, axes = plt.subplots(1, 3, figsize=(11, 2.6), layout="constrained")
    bars(axes[0], "init + first call at 128 MB, ms", {shown: of_call(name, "cold_wall") for name, shown in SUBJECTS.items()}, "{:,.0f}")
    bars(axes[1], "CPU of a warm call that asks the vendor, ms", {shown: of_call(name, "warm_cpu") for name, shown in SUBJECTS.items()}, "{:.2f}")
    bars(axes[2], "peak memory, MB", {shown: times[name]["peak_mb"] for name, shown in SUBJECTS.items()}, "{:.0f}")
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
