#!/usr/bin/env python3
"""What a million orders cost on AWS, by what `make load` has counted and the list prices in prices.json. `python3 -m tests.scenarios.cost` shows it again.

In it: what each order causes. Not in it: what is there without orders (a sweep a minute, alarms, the key, the secret), what is kept (the table and its
backups, logs), what leaves AWS, free tiers. The functions' time is as measured on this machine: on AWS, at 128 MB, they get a fourteenth of a
processor, and wait for other answers. Each step that Step Functions carries out counts as one transition: of each tick Poll, Done? and Wait (or Settled).
Custom events are billed by 64 KB; ours have never been as large.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Mapping

from infra.local import tools

if __name__ == "__main__":
    tools.enter()

from rich.console import Console
from rich.table import Table

PRICES = Path(__file__).with_name("prices.json")
COUNTED = tools.ROOT / ".local" / "load" / "counted.json"
TYPES = ("EXPRESS", "STANDARD")
API = "HTTP API (orders that are tracked by PUT)"
GIGABYTE = 1e9


def dollars(each: Mapping[str, Any], prices: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Dollars for a million orders, by type of the state machine and by service; `each` is what one order takes on average."""
    functions, machine = each["functions"].values(), each["executions"]
    calls, seconds = sum(one["invocations"] for one in functions), sum(one["milliseconds"] for one in functions) / 1000
    price, express = prices["lambda_arm64"], prices["step_functions_express"]
    common = {
        "DynamoDB writes": each["dynamodb"]["write_units"] * prices["dynamodb"]["write_units_per_million"],
        "DynamoDB reads": each["dynamodb"]["read_units"] * prices["dynamodb"]["read_units_per_million"],
        "Lambda requests": calls * price["requests_per_million"],
        "Lambda time": seconds * price["memory_gb"] * price["gb_second"] * 1e6,
        "EventBridge": each["events"] * prices["eventbridge"]["custom_events_per_million"],
        "CloudWatch Logs": each["log_bytes"] * 1e6 / GIGABYTE * prices["cloudwatch_logs"]["ingested_gb"],
        "KMS": each["kms"] * prices["kms"]["requests_per_million"],
    }
    executions = {
        "EXPRESS": {"Step Functions requests": machine["count"] * express["requests_per_million"],
                    "Step Functions time": machine["seconds"] * express["memory_gb"] * express["gb_second"] * 1e6},
        "STANDARD": {"Step Functions transitions": machine["transitions"] * prices["step_functions_standard"]["transitions_per_million"]},
    }
    return {kind: {**common, **executions[kind], API: each["api"] * prices["http_api"]["requests_per_million"]} for kind in TYPES}


def table(counted: Mapping[str, Mapping[str, Any]]) -> Table:
    """The dollars of every run that was counted."""
    prices = json.loads(PRICES.read_text())
    reckoned = {(mode, kind): of_kind for mode, kept in counted.items() for kind, of_kind in dollars(kept["per_order"], prices).items()}
    shown = Table(title=f"Dollars for a million orders ({prices['region']}, {prices['as_of']})", title_justify="left")
    shown.add_column("")
    for mode, kind in reckoned:
        shown.add_column(f"{mode} checks, {kind}", justify="right")
    services = list(dict.fromkeys(service for of_kind in reckoned.values() for service in of_kind if service != API))
    for service in services:
        shown.add_row(service, *(f"{of_kind[service]:.2f}" if service in of_kind else "–" for of_kind in reckoned.values()))
    shown.add_section()
    shown.add_row("together", *(f"{sum(value for service, value in of_kind.items() if service != API):.2f}" for of_kind in reckoned.values()))
    shown.add_row(API, *(f"{of_kind[API]:.2f}" for of_kind in reckoned.values()))
    return shown


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counted", nargs="?", type=Path, default=COUNTED, help="what `make load` has counted (default: .local/load/counted.json)")
    file = parser.parse_args().counted
    if not file.is_file():
        tools.fail(f"there is no {file}: `make load` first")
    Console().print(table(json.loads(file.read_text())))


if __name__ == "__main__":
    main()
