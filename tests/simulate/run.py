#!/usr/bin/env python3
"""Calls, delay and money of ways to look at orders: the model in this folder, in tables and pictures. `make simulate`.

The model uses the production retry schedules, rate limiter and planner; everything that it assumes is a parameter (`cargo run -p simulate -- --help`), and what is
given here is passed on. Dollars: what the model did, operation by operation, at the sizes that one real run on the local stack had
(`simulate/counted.json`, from `make load`), at the list prices of `prices.json`.

Ends with one line of figures, and with status 1 where a gate is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, Mapping, Sequence

from infra.local import tools

if __name__ == "__main__":
    tools.enter("plot")

from tests.scenarios import cost
from infra.local.processes import Failure

FOLDER = tools.ROOT / ".local" / "simulate"
COUNTED = tools.ROOT / "tests" / "simulate" / "counted.json"
PICTURES = tools.ROOT / "docs" / "pictures"
INDEX_ENTRY_BYTES = 120  # keys of the table and of the index, as the index `due` keeps them
INDEX_PARTS = 2  # in which orders in flight are looked for
DUE_QUERIES = 6  # of the same plan: what is due besides, in all parts; mostly next to nothing, half a unit each
UNIT_BYTES = 4096
KEY_RATE, KEY_LEFT = 100, 20  # the goal: so many orders a minute, and what they leave of a production key
GATES = {
    "schedule_calls": 3.2, "schedule_mean": 2.0, "dollars": 45.0, "list_mean": 3.5, "list_p95": 8.0,
}


class Units:
    """What one operation of each kind takes, as counted in a real run."""

    def __init__(self, counted: Mapping[str, Any]) -> None:
        self.each = counted["per_order"]
        self.kinds = self.each["dynamodb"]["kinds"]

    def write(self, kind: str) -> float:
        """Write units of one such operation."""
        return self.kinds[kind]["write_units"] / self.kinds[kind]["count"]

    def read(self, kind: str) -> float:
        """Read units of one such operation."""
        return self.kinds[kind]["read_units"] / self.kinds[kind]["count"]

    def per_order(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """What an order of a simulated run takes, in the form that `cost.dollars` reads."""
        did = run["per_order"]
        admissions = did["admissions"] or did["checks"]
        # Registered with its event, then marked as announced; the same for each outcome. The due index: entered, moved; moved, left.
        writes = (self.write("TransactWriteItems Put order") + did["outcomes"] * self.write("TransactWriteItems Update order")
                  + (1 + did["outcomes"]) * self.write("TransactWriteItems Put event")
                  + (did["claims"] + did["commits"] + 1 + did["outcomes"]) * self.write("UpdateItem order")
                  + admissions * self.write("UpdateItem admission")
                  + 3 + 3 * did["outcomes"])
        entries = did["planned_over"] / did["index_queries"] / INDEX_PARTS if did["index_queries"] else 0
        query = max(1, math.ceil(entries * INDEX_ENTRY_BYTES / UNIT_BYTES)) / 2
        reads = (did["ticks"] * self.read("GetItem order") + did["admission_reads"] * self.read("GetItem admission")
                 + did["index_queries"] * (INDEX_PARTS * query + DUE_QUERIES / 2) + did["planned_over"] * self.read("BatchGetItem order"))
        status, poller = self.each["functions"]["status"], self.each["functions"]["poller"]

        def of_poller(name: str) -> float:
            return poller[name] / poller["invocations"] * did["ticks"]
        return {
            "dynamodb": {"write_units": writes, "read_units": reads},
            "functions": {"status": status, "poller": {"invocations": did["ticks"], "milliseconds": of_poller("milliseconds")}},
            "executions": {"count": 1, "seconds": did["flight_seconds"], "transitions": 3 * did["ticks"]},
            "events": 1 + did["outcomes"], "kms": self.each["kms"], "api": 1, "log_bytes": status["log_bytes"] + of_poller("log_bytes"),
        }


def together(services: Mapping[str, float]) -> float:
    """All services but the HTTP API."""
    return sum(value for service, value in services.items() if service != cost.API)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n| --- |{' ---: |' * (len(heads) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def number(value: float, places: int = 2) -> str:
    """With thousands apart."""
    return f"{value:,.{places}f}"


def simulate(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the model; its progress goes to the terminal."""
    built = ["cargo", "build", "--profile", "local", "--package", "simulate"]
    if subprocess.run(built, cwd=tools.ROOT).returncode != 0:
        raise Failure("the model could not be built, see above")
    program = tools.TARGET / "local" / "simulate"
    ran = subprocess.run([str(program), *arguments], cwd=tools.ROOT, stdout=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        raise Failure(f"the model ended with status {ran.returncode}, see above")
    return json.loads(ran.stdout)


def report(result: Mapping[str, Any], counted: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Prints the tables; answers the line of figures and what is missed."""
    prices = json.loads(cost.PRICES.read_text())
    units = Units(counted["list"])
    runs = result["runs"]
    for run in runs:
        run["each"] = units.per_order(run)
        run["dollars"] = {kind: together(services) for kind, services in cost.dollars(run["each"], prices).items()}
    of = {name: [run for run in runs if run["table"] == name] for name in ("retry_schedules", "key", "speed", "growth")}

    def row(run: Mapping[str, Any]) -> list[str]:
        return [number(run["calls"]), number(run["mean"]), number(run["p95"]), *(number(run["dollars"][kind], 0) for kind in cost.TYPES)]
    goal = next(run for run in of["key"] if run["list_checks"] and (run["orders_per_minute"], run["left"]) == (KEY_RATE, KEY_LEFT))
    print(f"Assumed: {result['assumptions']}")
    heads = ["calls per order", "mean delay, s", "p95, s", "EXPRESS, $ per million", "STANDARD"]
    table("Retry schedules by themselves: calls enough, and nothing takes time but waiting. Below, list checks as in the next table.", ["policy", *heads],
          [[run["name"], *row(run)] for run in of["retry_schedules"]] + [[f"list checks, {KEY_RATE} orders a minute on {KEY_LEFT} calls", *row(goal)]])
    services = {run["name"]: cost.dollars(run["each"], prices) for run in [*of["retry_schedules"], {**goal, "name": "list checks"}]}
    names = list(dict.fromkeys(service for by_kind in services.values() for of_kind in by_kind.values() for service in of_kind))
    table("Dollars per million orders by service", ["service", *services],
          [[service, *(number(next((of_kind[service] for of_kind in by_kind.values() if service in of_kind), 0.0)) for by_kind in services.values())]
           for service in names])
    table("One production key: 120 calls a minute, sends and looks together", ["orders a minute", "calls left", "looks", *heads, "most in 60 s"],
          [[number(run["orders_per_minute"], 0), run["left"], run["name"], *row(run), run["fullest_minute"]] for run in of["key"]])
    table("The vendor at another speed", ["orders a minute on calls", "speed", "calls per order", "mean delay, s", "p95, s", "never noticed"],
          [[f"{number(run['orders_per_minute'], 0)} on {run['left']}", run["name"], number(run["calls"]), number(run["mean"]), number(run["p95"]), run["unnoticed"]]
           for run in of["speed"]])
    table("Growth: a fifth of a call for each order", ["orders a minute", "calls a minute", "calls per order", "mean delay, s", "p95, s", "DynamoDB writes",
          "DynamoDB reads", "EXPRESS, $ per million"],
          [[number(run["orders_per_minute"], 0), run["left"], number(run["calls"]), number(run["mean"]), number(run["p95"]),
            number(run["each"]["dynamodb"]["write_units"], 1), number(run["each"]["dynamodb"]["read_units"], 1), number(run["dollars"]["EXPRESS"], 0)]
           for run in of["growth"]])
    table("A queued card, from delivery to notice", ["looks", "mean, h", "p95, h", "looks per order"],
          [[delay["name"], number(delay["mean_hours"], 1), number(delay["p95_hours"], 1), number(delay["looks"], 1)] for delay in result["parked"]])
    real = {mode: {kind: together(services) for kind, services in cost.dollars(kept["per_order"], prices).items()} for mode, kept in counted.items()}
    figures = {"schedule_calls": 0.0, "schedule_mean": 0.0, "dollars": real["list"]["EXPRESS"], "list_mean": goal["mean"], "list_p95": goal["p95"]}
    ours = next(run for run in of["retry_schedules"] if run["name"] == "ours")
    figures |= {"schedule_calls": ours["calls"], "schedule_mean": ours["mean"]}
    missed = [f"{name} is {figures[name]:.2f}, the gate {gate:g}" for name, gate in GATES.items() if figures[name] > gate]
    missed += [f"{run['orders_per_minute']:g} orders a minute made {run['fullest_minute']} calls in 60 s of {run['left']}"
               for run in runs if run["left"] and run["fullest_minute"] > run["left"]]
    line = (f"ours {ours['calls']:.2f} calls, {ours['mean']:.2f} s; {KEY_RATE} orders a minute on {KEY_LEFT} calls: {goal['calls']:.2f} calls, "
            f"{goal['mean']:.2f} s, p95 {goal['p95']:.2f} s; real run {real['list']['EXPRESS']:.1f} $ per million EXPRESS, {real['list']['STANDARD']:.0f} STANDARD; "
            f"queued cards {result['parked'][0]['mean_hours'] - result['parked'][1]['mean_hours']:.1f} h sooner")
    return line, missed


def gates(seeds: int, assumptions: Sequence[str]) -> None:
    """Prints list checks on one production key, each row averaged over so many seeds."""
    runs = [simulate(["--gates", "--seed", str(seed), *assumptions])["runs"] for seed in range(1, seeds + 1)]

    def mean(row: Sequence[Mapping[str, Any]], name: str) -> str:
        return number(sum(run[name] for run in row) / len(row))
    table(f"One production key, {seeds} seeds", ["orders a minute", "calls left", "calls per order", "mean delay, s", "p95, s"],
          [[number(row[0]["orders_per_minute"], 0), row[0]["left"], *(mean(row, name) for name in ("calls", "mean", "p95"))] for row in zip(*runs)])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assumptions", nargs="*", metavar="--NAME VALUE", help="of the model, such as --shape uniform (after a --)")
    parser.add_argument("--seeds", type=int, metavar="N", help="only list checks on one production key, averaged over so many seeds")
    options = parser.parse_args()
    if options.seeds:
        return gates(options.seeds, options.assumptions)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        result = simulate(options.assumptions)
    except Failure as failure:
        tools.fail(str(failure))
    line, missed = report(result, json.loads(COUNTED.read_text()))
    (FOLDER / "results.json").write_text(json.dumps(result, indent=1))
    # Only the default assumptions' pictures are the project's.
    pictures = FOLDER if options.assumptions else PICTURES
    subprocess.run([str(tools.program("plot", "python")), str(Path(__file__).with_name("plot.py")), str(FOLDER / "results.json"), str(pictures)], check=True)
    for what in missed:
        print(f"missed: {what}")
    print(f"\n{'MISSED' if missed else 'held'}: {line}; {date.today()}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
