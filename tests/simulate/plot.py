#!/usr/bin/env python3
"""Draws the model's pictures: results.json in, two SVGs out. Runs under the Python that has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS = "#1b7f5a", "#8a949c"
plt.rcParams["svg.hashsalt"] = "simulate"  # the same figures, the same file


def delay_against_calls(runs: list[dict], file: Path) -> None:
    """How soon an outcome is noticed, by what it costs of the key."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for run in runs:
        if run["table"] == "retry_schedules":
            axes.plot(run["calls"], run["mean"], "o", color=OURS if run["name"] == "ours" else OTHERS)
            axes.annotate(run["name"], (run["calls"], run["mean"]), xytext=(6, 5), textcoords="offset points", fontsize=9)
    listed = [run for run in runs if run["table"] == "key" and run["list_checks"] and run["orders_per_minute"] < 500]
    axes.plot([run["calls"] for run in listed], [run["mean"] for run in listed], "s-", color=OURS)
    for run in listed:
        axes.annotate(f"{run['orders_per_minute']:g}/min", (run["calls"], run["mean"]), xytext=(6, 5), textcoords="offset points", fontsize=9, color=OURS)
    axes.plot([], [], "s-", color=OURS, label="list checks, by orders a minute on one production key")
    axes.plot([], [], "o", color=OTHERS, label="retry schedules of single checks, calls enough")
    axes.set_xlabel("vendor calls per order")
    axes.set_ylabel("mean delay, s")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file, metadata={"Date": None})


def growth(runs: list[dict], file: Path) -> None:
    """Where it bends."""
    grown = [run for run in runs if run["table"] == "growth"]
    rates = [run["orders_per_minute"] for run in grown]
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), layout="constrained")
    shown = {
        "vendor calls per order": [[run["calls"] for run in grown]],
        "delay, s: mean and p95": [[run["mean"] for run in grown], [run["p95"] for run in grown]],
        "DynamoDB units per order:\nwrites and reads": [[run["each"]["dynamodb"]["write_units"] for run in grown], [run["each"]["dynamodb"]["read_units"] for run in grown]],
        "EXPRESS, $ per million orders": [[run["dollars"]["EXPRESS"] for run in grown]],
    }
    for panel, (title, lines) in zip(axes, shown.items()):
        for line, style in zip(lines, ("o-", "o--")):
            panel.plot(rates, line, style, color=OURS)
        panel.set_xscale("log")
        panel.set_ylim(0)
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("orders a minute", fontsize=9)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Command line: results.json, folder of the pictures."""
    runs = json.loads(Path(sys.argv[1]).read_text())["runs"]
    delay_against_calls(runs, Path(sys.argv[2]) / "calls.svg")
    growth(runs, Path(sys.argv[2]) / "growth.svg")


if __name__ == "__main__":
    main()
