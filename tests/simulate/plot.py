"""Draws the model's pictures."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

OURS, OTHERS = "#1b7f5a", "#8a949c"
# The same figures give the same file.
matplotlib.rcParams.update({"svg.hashsalt": "simulate", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 9})


def delay_against_calls(runs: list[dict[str, Any]], file: Path) -> None:
    """The delay of an outcome by the calls of the key that it costs."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    listed = [run for run in runs if run["table"] == "key" and run["list_checks"] and run["orders_per_minute"] < 500]
    scheduled = [run for run in runs if run["table"] == "retry_schedules"]
    axes.plot([run["calls"] for run in listed], [run["mean"] for run in listed], "s-", color=OURS, label="list checks on one key, by orders a minute")
    for run in listed:
        axes.annotate(f"{run['orders_per_minute']:g}/min", (run["calls"], run["mean"]), xytext=(6, 5), textcoords="offset points", fontsize=9, color=OURS)
    for run in scheduled:
        axes.plot(run["calls"], run["mean"], "o", color=OURS if run["name"] == "ours" else OTHERS)
        axes.annotate(run["name"], (run["calls"], run["mean"]), xytext=(6, 5), textcoords="offset points", fontsize=9)
    axes.plot([], [], "o", color=OTHERS, label="retry schedules of single checks, calls enough")
    axes.set(xlabel="vendor calls per order", ylabel="mean delay, s", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


def growth(runs: list[dict[str, Any]], file: Path) -> None:
    """Calls, delay, units and dollars by orders a minute."""
    grown = [run for run in runs if run["table"] == "growth"]
    units = [run["each"]["dynamodb"] for run in grown]
    shown = {
        "vendor calls per order": [[run["calls"] for run in grown]],
        "delay, s: mean and p95": [[run["mean"] for run in grown], [run["p95"] for run in grown]],
        "DynamoDB units per order:\nwrites and reads": [[unit["write_units"] for unit in units], [unit["read_units"] for unit in units]],
        "EXPRESS, $ per million orders": [[run["dollars"]["EXPRESS"] for run in grown]],
    }
    figure = Figure(figsize=(12, 2.8), layout="constrained")
    for panel, (title, lines) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        for line, style in zip(lines, ("o-", "o--"), strict=False):
            panel.plot([run["orders_per_minute"] for run in grown], line, style, color=OURS)
        panel.set(xscale="log", ylim=(0, None))
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("orders a minute", fontsize=9)
    figure.savefig(file, metadata={"Date": None})
