"""The cost of a million orders on AWS, by what `make load` counted and the list prices in prices.json. `python3 -m tests.scenarios.cost` prints it again.

Included: everything that each order causes. Not included: what runs without orders (a recheck a minute, alarms, the key, the secret), what is kept (the table,
its backups, logs), what leaves AWS, and free tiers. The functions' time was measured on this machine; on AWS, at 128 MB, a function gets a fourteenth of a
processor. Each state that Step Functions enters is one transition: for each tick Poll, Done? and Wait (or Settled). Custom events are smaller than 64 KB.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local import tools
from tests.scenarios.shop import show

PRICES = json.loads(Path(__file__).with_name("prices.json").read_text())
COUNTED = tools.ROOT / ".local" / "load" / "counted.json"
TYPES = ("EXPRESS", "STANDARD")
TITLE = f"Dollars for a million orders ({PRICES['region']}, {PRICES['as_of']})"
API = "HTTP API (orders that are tracked by PUT)"


def dollars(each: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Dollars for a million orders, by type of the state machine and by service; `each` is what one order takes on average."""
    functions, machine = each["functions"].values(), each["executions"]
    calls, seconds = sum(one["invocations"] for one in functions), sum(one["milliseconds"] for one in functions) / 1000
    price, express = PRICES["lambda_arm64"], PRICES["step_functions_express"]
    common = {
        "DynamoDB writes": each["dynamodb"]["write_units"] * PRICES["dynamodb"]["write_units_per_million"],
        "DynamoDB reads": each["dynamodb"]["read_units"] * PRICES["dynamodb"]["read_units_per_million"],
        "Lambda requests": calls * price["requests_per_million"],
        "Lambda time": seconds * price["memory_gb"] * price["gb_second"] * 1e6,
        "EventBridge": each["events"] * PRICES["eventbridge"]["custom_events_per_million"],
        "CloudWatch Logs": each["log_bytes"] * 1e6 / 1e9 * PRICES["cloudwatch_logs"]["ingested_gb"],
        # SQS: a webhook is sent to the queue, received and deleted.
        "SQS": 3 * each.get("webhooks", 0) * PRICES["sqs"]["requests_per_million"],
        "KMS": each["kms"] * PRICES["kms"]["requests_per_million"],
    }
    executions = {
        "EXPRESS": {"Step Functions requests": machine["count"] * express["requests_per_million"],
                    "Step Functions time": machine["seconds"] * express["memory_gb"] * express["gb_second"] * 1e6},
        "STANDARD": {"Step Functions transitions": machine["transitions"] * PRICES["step_functions_standard"]["transitions_per_million"]},
    }
    return {kind: {**common, **executions[kind], API: each["api"] * PRICES["http_api"]["requests_per_million"]} for kind in TYPES}


def totals(each: Mapping[str, Any]) -> dict[str, float]:
    """Dollars for a million orders, by type of the state machine: all services but the HTTP API."""
    return {kind: sum(services.values()) - services[API] for kind, services in dollars(each).items()}


def table(counted: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """A column for each counted run and type of the state machine."""
    return {f"{mode} checks, {kind}": {**services, "all but the HTTP API": totals(run["per_order"])[kind]}
            for mode, run in counted.items() for kind, services in dollars(run["per_order"]).items()}


def main() -> None:
    """Command line."""
    if not COUNTED.is_file():
        tools.fail(f"there is no {COUNTED}: run `make load` first")
    show(TITLE, table(json.loads(COUNTED.read_text())))


if __name__ == "__main__":
    main()
