"""Orders on one key, evenly sent, through a local stack of its own: the delay of each outcome's event, and what the orders cost.
`make load`, `make load ORDERS_PER_MINUTE=100 MINUTES=10 SEED=7`, `make load SINGLE=1`, `make load COMPARE=1`.

The sandbox enforces 120 calls a minute on the key. Sends come first: the tracker has the rest (`VENDOR_CALLS_PER_MINUTE` = 120 - orders a minute).
`shop.py` says what the orders and the notice are. The gates hold for the notices about orders in flight. The outcome of a parked order is found by the
recheck of every minute and shown apart; parked orders are checked again after 45 s, since the run is shorter than a day.

What costs money is counted and written to `.local/load/counted.json`, for each order on average: DynamoDB by `meter.py`; invocations and log bytes by the
functions' logs; executions by the local AWS; events as received. Rechecks are included, and weigh more in a short run. Durations are those of this machine.

`--single` sets LIST_CHECKS=off, a call for each order. 20 calls a minute are far too few for 100 orders, so there are no gates, and orders may be unfinished;
a change without an event counts with its age at the end. `--compare` runs both, one after the other, with the same orders.

Exit status 1 for any 429, an order that did not end as scripted, or a missed gate.
"""

import argparse
import json
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from infra.local import cloud
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import Failure, wait_until
from tests.scenarios import cost
from tests.scenarios.meter import Account, Meter
from tests.scenarios.order_log import DELAYED, OUTCOMES, seconds_of
from tests.scenarios.shop import PROGRESS_SECONDS, Logs, Shop, busy, make_orders, show, spread, text_of
from tests.scenarios.stack_client import command_line, console, own_stack

LIMIT = 120  # calls a minute on the key
BURST = 1  # of the tracker's calls
SPARE = 10  # calls a minute left free in an untimed run: on a busy machine sends are not evenly spaced
GATES = {"mean notice, s": 3.5, "p95 of the notice, s": 8.0}
LINE = ("orders", "mean notice, s", "p95 of the notice, s", "429s", "unfinished", "single checks per order", "list checks per order",
        "highest minute on the key", "write units per order", "read units per order", "ticks later than asked, s", "load average per processor", "seed")
SETTINGS = {"STATE_MACHINE_TYPE": "EXPRESS", "VENDOR_CALLS_BURST": str(BURST), "RECHECK_QUEUED": "45s", "RECHECK_UNCERTAIN": "45s",
            "SANDBOX_FLAGS": f"--keys-per-minute {LIMIT}"}
SETTLE_SECONDS = {"list": 300.0, "single": 60.0}  # bound of the wait after the last order; with list checks it takes two minutes


class Load(Shop):
    """One run."""

    def __init__(self, env: Mapping[str, str], options: argparse.Namespace, mode: str) -> None:
        count = round(options.orders_per_minute * options.minutes)
        super().__init__(env, make_orders(count, options.orders_per_minute, random.Random(options.seed)))
        self.mode = mode

    def run(self) -> None:
        """Sends all orders, and waits until the outcome of each was published."""
        began = time.monotonic()
        with self.selling(began) as sales:
            self.follow(began, sales)
        if self.mode == "list":  # the last commits, answers and log lines
            with suppress(Failure):
                wait_until("all executions to end", lambda: not self.executions()["running"], 30, every=1)
        self.receive(1)

    def follow(self, began: float, sales: Iterable[Future[None]]) -> None:
        """Shows the progress; ends when the outcome of each order was received, or at the deadline."""
        deadline, shown_at = self.orders[-1].at + SETTLE_SECONDS[self.mode], 0.0
        while (now := time.monotonic() - began) < deadline:
            self.receive(1)
            settled = sum(order.outcome() is not None for order in self.orders)
            is_done = all(sale.done() for sale in sales) and settled == sum(order.is_sold for order in self.orders)
            if is_done or now - shown_at >= PROGRESS_SECONDS:
                shown_at, minute, notices = now, self.sandbox("/calls/windows?seconds=60"), self.notices()
                notice, unreceived = spread(notices["in_flight"]), spread(notices["unreceived"])
                console.print(
                    f"{now:5.0f} s  {sum(order.is_sold for order in self.orders)} of {len(self.orders)} sent, {settled} ended; {minute['total']} calls, "
                    f"highest minute {minute['highest']} of {LIMIT}; notice {notice['mean']:.1f} s, p95 {notice['p95']:.1f} s, "
                    f"{unreceived['count']} changes without an event "
                    f"(the oldest for {unreceived['max']:.0f} s)")
            if is_done:
                return

    def executions(self) -> dict[str, float]:
        """How many there were, their seconds (each rounded up to 0.1 s, as billed), and how many are running."""
        pages = self.cloud.client("stepfunctions").get_paginator("list_executions").paginate(stateMachineArn=self.env["STATE_MACHINE_ARN"])
        found = list(pages.search("executions"))
        lasted = [((execution.get("stopDate") or datetime.now(UTC)) - execution["startDate"]).total_seconds() for execution in found]
        return {"count": len(found), "seconds": sum(math.ceil(seconds * 10) / 10 for seconds in lasted),
                "running": sum(execution["status"] == "RUNNING" for execution in found)}

    def measure(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Compares what was received and stored with the vendor's truth; answers the figures that need the stack, and the totals of what costs."""
        records, notices, executions, (calls, failures) = self.records(), self.notices(), self.executions(), self.calls()
        self.check_orders(self.vendor_orders(), records)
        endpoints = Counter(call["endpoint"].rpartition("/")[2].partition("-")[0] for call in calls)  # check-id and check-ref are one
        rows = [call["rows"] for call in calls if call.get("rows") is not None]
        notice = spread(notices["in_flight"])
        figures = {
            "orders": len(self.orders), "unfinished": sum(order.outcome() is None for order in self.orders), "delayed": self.bus[DELAYED],
            "notice, s: mean / p95 / max": notice, "mean notice, s": notice["mean"], "p95 of the notice, s": notice["p95"],
            "  by the event's own time": spread(notices["dated"]),
            "  with changes without an event, at least": spread(notices["in_flight"] + notices["unreceived"]),
            "  mobile": spread(notices["mobile"]), "  internet": spread(notices["internet"]), "  outcome of a parked order": spread(notices["parked"]),
            "single checks per order": endpoints["check"] / len(self.orders), "list checks per order": endpoints["list"] / len(self.orders),
            "rows per list check": sum(rows) / max(len(rows), 1), "highest minute on the key": self.sandbox("/calls/windows?seconds=60")["highest"],
            **failures, "sent later than planned, s": spread(order.late for order in self.orders), **self.webhooks(),
        }
        return figures, {"executions": executions["count"], "seconds": executions["seconds"], "events": sum(self.bus.values()),
                         "kms": sum("card_ciphertext" in item for item in records.values()), "api": sum(order.is_sold for order in self.orders),
                         "webhooks": figures.get("webhooks", 0)}

    def webhooks(self) -> dict[str, Any]:
        """How long after its commit each event was first sent to the shop. Empty if the stack sends no webhooks. Notes outcomes that were not sent."""
        if not self.env.get("WEBHOOK_SECRET"):
            return {}
        first: dict[str, float] = {}
        for webhook in self.sandbox("/webhooks")["webhooks"]:
            first.setdefault(webhook["id"], seconds_of(webhook["at"]) - seconds_of(json.loads(webhook["body"])["detail"]["occurred_at"]))
        outcomes = {item["event_id"]["S"] for item in self.items() if item["sk"]["S"].startswith("EVENT#") and item["detail_type"]["S"] in OUTCOMES}
        self.wrong["outcomes that were not sent to the shop"] |= outcomes - first.keys()
        seconds = sorted(first.values())
        return {"webhooks": len(seconds), "commit to webhook, s: mean / p95 / max": spread(seconds),
                "  p99": seconds[math.ceil(len(seconds) * 0.99) - 1] if seconds else 0.0}


def per_order(totals: Mapping[str, float], units: Mapping[str, Mapping[str, float]], logs: Logs, orders: int) -> dict[str, Any]:
    """What was counted, for each order on average, in the form that `cost.py` reads."""
    billed = {function: logs.milliseconds(function, "Billed Duration") for function in cloud.FUNCTIONS}
    ours = {function: [line for line in logs.lines(function) if not line.startswith(("START R", "END R", "REPORT R"))] for function in billed}  # as on AWS
    functions = {function: {"invocations": len(times) / orders, "milliseconds": sum(times) / orders,
                            "log_bytes": sum(len(line.encode()) + 26 for line in ours[function]) / orders}  # CloudWatch adds 26 bytes to each line
                 for function, times in billed.items()}
    kinds = {kind: {name: value / orders for name, value in counted.items()} for kind, counted in sorted(units.items())}
    return {
        "dynamodb": {**{name: sum(kind[name] for kind in kinds.values()) for name in ("write_units", "read_units")}, "kinds": kinds}, "functions": functions,
        "executions": {"count": totals["executions"] / orders, "seconds": totals["seconds"] / orders,
                       "transitions": 3 * functions["poller"]["invocations"]},  # of each tick Poll, Done? and Wait; of the last one Settled
        **{name: totals[name] / orders for name in ("events", "kms", "api", "webhooks")}, "log_bytes": sum(each["log_bytes"] for each in functions.values()),
    }


def run_mode(options: argparse.Namespace, mode: str) -> tuple[dict[str, Any], Load]:
    """One run on a new stack; answers what is kept of it."""
    webhooks = {"WEBHOOK_URL": "sandbox"} if options.webhooks else {}
    chosen = {**SETTINGS, **webhooks, "VENDOR_CALLS_PER_MINUTE": str(options.budget), "LIST_CHECKS": "on" if mode == "list" else "off"}
    meter = Meter(Stack(DEFAULT_DIRECTORY / "load"))
    with own_stack("load", chosen, not options.no_build, {"AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{meter.server_port}"}) as own:
        logs, load, meter.account = Logs(own.logs), Load(own.read_env(), options, mode), Account()
        load.run()
        counted = meter.account
        figures, totals = load.measure()
        figures |= busy(own)
    each = per_order(totals, counted.kinds, logs, len(load.orders))
    figures |= {
        "ticks per order": each["functions"]["poller"]["invocations"], "ticks later than asked, s": logs.tick_delays(),
        "write units per order": each["dynamodb"]["write_units"], "read units per order": each["dynamodb"]["read_units"],
        "execution, s per order": each["executions"]["seconds"], "log, bytes per order": each["log_bytes"], "seed": options.seed,
        "requests through the meter": counted.requests, "  ms added to each": counted.added_seconds * 1000 / max(counted.requests, 1),
    }
    if counted.uncounted:
        load.wrong["requests that the meter could not count"].add(str(dict(counted.uncounted)))
    return {"mode": mode, "at": datetime.now(UTC).isoformat(timespec="seconds"), "minutes": options.minutes, "orders_per_minute": options.orders_per_minute,
            "seed": options.seed, "figures": figures, "per_order": each}, load


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--orders-per-minute", type=float, default=100, help="orders that the shop sends in a minute (default: 100)")
    parser.add_argument("--minutes", type=float, default=10, help="minutes of sending (default: 10)")
    parser.add_argument("--untimed", action="store_true", help="for a busy machine: gates for the outcomes and the number of calls, none for times")
    parser.add_argument("--webhooks", action="store_true", help="send the events to the sandbox as webhooks too")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--single", action="store_true", help="without list checks, and without gates for delays")
    which.add_argument("--compare", action="store_true", help="with list checks and without, one after the other")
    options = parser.parse_args()
    options.budget = LIMIT - math.ceil(options.orders_per_minute) - (SPARE if options.untimed else 0)
    if options.budget <= BURST or options.orders_per_minute <= 0 or round(options.orders_per_minute * options.minutes) < 1:
        parser.error(f"orders a minute: at most {LIMIT - BURST - 1}; the tracker has the rest of {LIMIT} calls, and needs more than its burst of {BURST}")
    runs: list[tuple[dict[str, Any], Load]] = []
    for mode in ("list", "single") if options.compare else ("single",) if options.single else ("list",):
        console.print(f"{mode} checks, {options.orders_per_minute:g} orders a minute for {options.minutes:g} minutes, "
                      f"{options.budget} calls a minute for the tracker, seed {options.seed}")
        runs.append(run_mode(options, mode))
        if not options.untimed:
            known = json.loads(cost.COUNTED.read_text()) if cost.COUNTED.is_file() else {}
            cost.COUNTED.write_text(json.dumps({**known, mode: runs[-1][0]}, indent=1) + "\n")
        options.no_build = True
    show("Orders under load", {f"{load.mode} checks": run["figures"] for run, load in runs})
    show("DynamoDB, per order: requests, write units, read units", {
        load.mode: {kind: ", ".join(map(text_of, units.values())) for kind, units in run["per_order"]["dynamodb"]["kinds"].items()} for run, load in runs})
    show(cost.TITLE, cost.table({load.mode: run for run, load in runs}))
    print(f"counted: {os.path.relpath(cost.COUNTED)}")
    good = True
    for run, load in runs:  # single checks have no gates; an untimed run must prefer list checks, which show many orders
        most = {"single checks per order": run["figures"]["list checks per order"]} if options.untimed else GATES
        line = load.hold(run["figures"], {"unfinished": 0, **most} if load.mode == "list" else {}, LINE)
        good &= load.conclude(f"{load.mode} checks: {line}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
