"""Calls, delay and cost of ways to check orders: the model in this folder, in tables and pictures. `make simulate`.

The model uses the production retry schedules, rate limiter and planner. Everything that it assumes is a parameter (`cargo run -p simulate -- --help`);
parameters after a `--` are passed on to it. Dollars: the operations of the model, with the units that each had in one real run on the local stack
(`tests/simulate/counted.json`, a copy of `.local/load/counted.json` after `make load`), at the list prices of `prices.json`.

Ends with one line of figures, and with status 1 for a missed gate.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from infra.local import tools
from infra.local.cloud import errors_shown
from infra.local.processes import Failure
from tests.scenarios import cost

FOLDER = tools.ROOT / ".local" / "simulate"
COUNTED = Path(__file__).with_name("counted.json")
PICTURES = tools.ROOT / "docs" / "pictures"
INDEX_ENTRY_BYTES = 120  # of the index `due`: the keys of the table and of the index
INDEX_PARTS = 2  # with the orders in flight
DUE_QUERIES = 6  # of each plan, for other due orders, in all parts; mostly next to nothing, half a unit each
KEY_RATE, KEY_LEFT = 100, 20  # the goal: orders a minute, and the calls that they leave of a production key
GATES = {"schedule_calls": 3.2, "schedule_mean": 2.0, "dollars": 45.0, "list_mean": 3.5, "list_p95": 8.0, "backlog_calls_per_100": 1.3}
Run = dict[str, Any]

COLOUR, OTHERS = "#1b7f5a", "#8a949c"
# The same figures give the same file.
matplotlib.rcParams.update({"svg.hashsalt": "simulate", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 9})


def per_order(run: Run, real: Mapping[str, Any]) -> dict[str, Any]:
    """What an order of a simulated run takes, with the units that each operation had in a real run, in the form that `cost.dollars` reads."""
    def units(kind: str, unit: str = "write_units") -> float:
        counted = real["dynamodb"]["kinds"][kind]
        return float(counted[unit] / counted["count"])
    did, read = run["per_order"], "read_units"
    # Registered with its event, then marked as published; the same for each outcome. The due index: entered, moved; moved, left.
    writes = (units("TransactWriteItems Put order") + did["outcomes"] * units("TransactWriteItems Update order")
              + (1 + did["outcomes"]) * units("TransactWriteItems Put event")
              + (did["claims"] + did["commits"] + 1 + did["outcomes"]) * units("UpdateItem order")
              + (did["admissions"] or did["checks"]) * units("UpdateItem admission") + 3 + 3 * did["outcomes"])
    entries = did["planned_over"] / did["index_queries"] / INDEX_PARTS if did["index_queries"] else 0
    query = max(1, math.ceil(entries * INDEX_ENTRY_BYTES / 4096)) / 2
    reads = (did["ticks"] * units("GetItem order", read) + did["admission_reads"] * units("GetItem admission", read)
             + did["index_queries"] * (INDEX_PARTS * query + DUE_QUERIES / 2) + did["planned_over"] * units("BatchGetItem order", read))
    status, poller = real["functions"]["status"], real["functions"]["poller"]
    polled = {name: value / poller["invocations"] * did["ticks"] for name, value in poller.items()}
    return {
        "dynamodb": {"write_units": writes, "read_units": reads}, "functions": {"status": status, "poller": polled},
        "executions": {"count": 1, "seconds": did["flight_seconds"], "transitions": 3 * did["ticks"]},
        "events": 1 + did["outcomes"], "kms": real["kms"], "api": 1, "log_bytes": status["log_bytes"] + polled["log_bytes"],
    }


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n| --- |{' ---: |' * (len(heads) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def number(value: float, places: int = 2) -> str:
    """With thousands separated."""
    return f"{value:,.{places}f}"


def simulate(arguments: Sequence[str]) -> dict[str, Any]:
    """Builds and runs the model; its progress goes to the terminal."""
    ran = subprocess.run(["cargo", "run", "--profile", "local", "--package", "simulate", "--", *arguments], cwd=tools.ROOT, stdout=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        raise Failure(f"the model, or its build, ended with status {ran.returncode}, see above")
    return dict(json.loads(ran.stdout))


def report(result: Mapping[str, Any], counted: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Prints the tables; answers the line of figures and the missed gates. `counted`: what one order of the real run took."""
    runs = result["runs"]
    for run in runs:
        run["each"] = per_order(run, counted)
        run["dollars"] = cost.totals(run["each"])
        run["rate"] = number(run["orders_per_minute"], 0)
    schedules, key, speed, growth = ([run for run in runs if run["table"] == name] for name in ("retry_schedules", "key", "speed", "growth"))
    goal = next(run for run in key if run["list_checks"] and (run["orders_per_minute"], run["left"]) == (KEY_RATE, KEY_LEFT))
    ours = next(run for run in schedules if run["name"] == "ours")

    def delay(run: Run) -> list[str]:
        return [number(run[name]) for name in ("calls", "mean", "p95")]

    def row(run: Run) -> list[str]:
        return [*delay(run), *(number(run["dollars"][kind], 0) for kind in cost.TYPES)]
    delays = ["calls per order", "mean delay, s", "p95, s"]
    heads = [*delays, "EXPRESS, $ per million", "STANDARD"]
    print(f"Assumed: {result['assumptions']}")
    table("Retry schedules by themselves: calls enough, and nothing takes time but waiting. Below, list checks as in the next table.", ["policy", *heads],
          [*([run["name"], *row(run)] for run in schedules), [f"list checks, {KEY_RATE} orders a minute on {KEY_LEFT} calls", *row(goal)]])
    by_type = {run["name"]: cost.dollars(run["each"]) for run in [*schedules, {**goal, "name": "list checks"}]}
    services = {name: {**kinds["EXPRESS"], **kinds["STANDARD"]} for name, kinds in by_type.items()}
    table("Dollars per million orders by service", ["service", *services],
          [[name, *(number(of_run[name]) for of_run in services.values())] for name in services["list checks"]])
    table("One production key: 120 calls a minute, sends and checks together", ["orders a minute", "calls left", "checks", *heads, "most in 60 s"],
          [[run["rate"], run["left"], run["name"], *row(run), run["fullest_minute"]] for run in key])
    table("The vendor at another speed", ["orders a minute on calls", "speed", *delays, "never noticed"],
          [[f"{run['rate']} on {run['left']}", run["name"], *delay(run), run["unnoticed"]] for run in speed])
    table("Growth: a fifth of a call for each order",
          ["orders a minute", "calls a minute", *delays, "DynamoDB writes", "DynamoDB reads", "EXPRESS, $ per million"],
          [[run["rate"], run["left"], *delay(run), *(number(run["each"]["dynamodb"][unit], 1) for unit in ("write_units", "read_units")),
            number(run["dollars"]["EXPRESS"], 0)] for run in growth])
    table("A queued card, from delivery to notice", ["checks", "mean, h", "p95, h", "checks per order"],
          [[card["name"], *(number(card[name], 1) for name in ("mean_hours", "p95_hours", "checks"))] for card in result["parked"]])
    table("Parked orders that are due at once", ["orders", "listed", "calls a minute", "calls", "calls per 100 orders", "minutes"],
          [[number(one["orders"], 0), one["listed"], one["calls_per_minute"], number(one["calls"], 0), number(100 * one["calls"] / one["orders"]),
            one["minutes"]] for one in result["backlogs"]])
    real = cost.totals(counted)
    by_creation = [one["calls"] / one["orders"] * 100 for one in result["backlogs"] if one["listed"] == "by creation time"]
    figures = {"schedule_calls": ours["calls"], "schedule_mean": ours["mean"], "dollars": real["EXPRESS"], "list_mean": goal["mean"], "list_p95": goal["p95"],
               "backlog_calls_per_100": max(by_creation)}
    missed = [f"{name} is {figures[name]:.2f}, the gate {gate:g}" for name, gate in GATES.items() if figures[name] > gate]
    missed += [f"{run['rate']} orders a minute made {run['fullest_minute']} calls in 60 s of {run['left']}"
               for run in runs if run["left"] and run["fullest_minute"] > run["left"]]
    by_schedule, hourly = (card["mean_hours"] for card in result["parked"])
    line = (f"ours {ours['calls']:.2f} calls, {ours['mean']:.2f} s; {KEY_RATE} orders a minute on {KEY_LEFT} calls: {goal['calls']:.2f} calls, "
            f"{goal['mean']:.2f} s, p95 {goal['p95']:.2f} s; real run {real['EXPRESS']:.1f} $ per million EXPRESS, {real['STANDARD']:.0f} STANDARD; "
            f"queued cards {by_schedule - hourly:.1f} h sooner; backlog {figures['backlog_calls_per_100']:.2f} calls per 100 orders")
    return line, missed


def draw_delays(runs: Sequence[Run], file: Path) -> None:
    """The delay of an outcome by the calls of the key that it costs."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    listed = [run for run in runs if run["table"] == "key" and run["list_checks"] and run["orders_per_minute"] < 500]
    scheduled = [run for run in runs if run["table"] == "retry_schedules"]
    axes.plot([run["calls"] for run in listed], [run["mean"] for run in listed], "s-", color=COLOUR, label="list checks on one key, by orders a minute")
    for run in listed:
        axes.annotate(f"{run['orders_per_minute']:g}/min", (run["calls"], run["mean"]), xytext=(6, 5), textcoords="offset points", fontsize=9, color=COLOUR)
    for run in scheduled:
        axes.plot(run["calls"], run["mean"], "o", color=COLOUR if run["name"] == "ours" else OTHERS)
        axes.annotate(run["name"], (run["calls"], run["mean"]), xytext=(6, 5), textcoords="offset points", fontsize=9)
    axes.plot([], [], "o", color=OTHERS, label="retry schedules of single checks, calls enough")
    axes.set(xlabel="vendor calls per order", ylabel="mean delay, s", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


def draw_growth(runs: Sequence[Run], file: Path) -> None:
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
            panel.plot([run["orders_per_minute"] for run in grown], line, style, color=COLOUR)
        panel.set(xscale="log", ylim=(0, None))
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("orders a minute", fontsize=9)
    figure.savefig(file, metadata={"Date": None})


def gates(seeds: int, assumptions: Sequence[str]) -> None:
    """Prints list checks on one production key, each row the mean of so many seeds."""
    runs = [simulate(["--gates", "--seed", str(seed), *assumptions])["runs"] for seed in range(1, seeds + 1)]
    table(f"One production key, {seeds} seeds", ["orders a minute", "calls left", "calls per order", "mean delay, s", "p95, s"],
          [[number(row[0]["orders_per_minute"], 0), row[0]["left"], *(number(sum(run[name] for run in row) / seeds) for name in ("calls", "mean", "p95"))]
           for row in zip(*runs, strict=True)])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assumptions", nargs="*", metavar="--NAME VALUE", help="of the model, such as --shape uniform (after a --)")
    parser.add_argument("--seeds", type=int, metavar="N", help="only list checks on one production key, the mean of N seeds")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with errors_shown():
        if options.seeds:
            gates(options.seeds, options.assumptions)
            return
        result = simulate(options.assumptions)
    line, missed = report(result, json.loads(COUNTED.read_text())["list"]["per_order"])
    (FOLDER / "results.json").write_text(json.dumps(result, indent=1))
    pictures = FOLDER if options.assumptions else PICTURES  # the project's pictures have the default assumptions
    draw_delays(result["runs"], pictures / "calls.svg")
    draw_growth(result["runs"], pictures / "growth.svg")
    for what in missed:
        print(f"missed: {what}")
    print(f"\n{'MISSED' if missed else 'held'}: {line}; {date.today()}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
