#!/usr/bin/env python3
"""A shop that sends orders without pause on one key, through a local stack of its own, and how soon it hears of each outcome.
`make load`, `make load ORDERS_PER_MINUTE=100 MINUTES=10 SEED=7`, `make load SINGLE=1`, `make load COMPARE=1`.

The key may be used 120 times a minute, which the sandbox enforces. Sends come first: the tracker has what they leave (`VENDOR_CALLS_PER_MINUTE`
= 120 - orders a minute). Orders come evenly, three of five mobile, and take as long as the vendor's pages say:
mobile `PENDING` 2 to 15 s, then `HANDLING` 3 to 8 s; internet `HANDLING` 3 to 45 s, spread over each range evenly on a logarithmic scale (most orders are
quick; with `--shape uniform` evenly), as in `make simulate`. 92 % end `FULFILLED` (internet with its card), 5 % `REFUNDED`;
3 % become `UNKNOWN_ERROR` (mobile) or `QUEUED` (internet), and settle as one or the other 20 to 40 s later.

The sandbox gives orders that are sent to it fixed times. So an order is made through the control API, with its own timeline, right after a call to the
vendor's send that is counted on the key like any other and refused for its body (400): together they are a send.

Measured is the notice: from the moment of the vendor's outcome (its end, or its entry into `UNKNOWN_ERROR` or `QUEUED`) until the event is on the bus, as the
queue that hears everything dates it. That counts for outcomes that came in flight; what settles when the order is parked is found by the sweep
of every minute, and is told apart. Parked orders are looked at again after 45 s (`RECHECK_QUEUED`, `RECHECK_UNCERTAIN`), since the run is over sooner than a day.

Everything that costs money is counted on the way and kept in `.local/load/counted.json`, for each order on average: DynamoDB by the meter (`meter.py`), calls
of the functions and bytes of their logs by their logs (and 26 bytes for each line, as CloudWatch counts), executions by the local AWS, events by what is heard.
Sweeps are in it: of a short run they are a larger part. Durations of functions are this machine's: on AWS, at 128 MB, they differ.

`--single` has LIST_CHECKS=off, a call for each order: 20 calls a minute are far too few for 100 orders, so delays are told and held against nothing, nor are orders
that are not done in the end; what was never heard counts with its age at the end, beside. `--compare` runs both, one after the other, with the same orders.

Exit status 1 if there was any 429, an order that did not end as scripted, or the notice took too long (MEAN_GATE, P95_GATE).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional

from infra.local import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", "aws")

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from infra.local import cloud
from tests.scenarios import cost
from infra.local import settings
from infra.local import stack
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack, free_port
from tests.scenarios.meter import size_of
from infra.local.processes import Failure, Server
from tests.scenarios.order_log import FULFILLED, OUTCOMES, QUEUED, TRACKED, UNCERTAIN, OrderLog
from tests.scenarios.stack_client import StackClient

DIRECTORY = DEFAULT_DIRECTORY / "load"
COUNTED = DIRECTORY / "counted.json"
LIMIT = 120  # of the key, calls a minute
BURST = 1  # of the tracker's calls
MEAN_GATE, P95_GATE = 3.5, 8.0  # seconds from the vendor's outcome to the event, for outcomes in flight
RECHECK = "45s"
SETTINGS = {"STATE_MACHINE_TYPE": "EXPRESS", "VENDOR_CALLS_BURST": str(BURST), "RECHECK_QUEUED": RECHECK, "RECHECK_UNCERTAIN": RECHECK}
SHOP_THREADS = 12
WINDOW_SECONDS = 60
PROGRESS_SECONDS = 10.0
SETTLE_SECONDS = 300.0  # bound of the wait after the last order; two minutes are the rule
SINGLE_SETTLE_SECONDS = 60.0  # single checks are not waited for: they are told as they stand
QUIET_SECONDS = 3.0  # for what comes after the last event: marks, answers, log lines
SPARE = 10  # calls a minute that nobody uses in an untimed run: on a busy machine sends are not evenly spaced
MINUTE = 60.05  # in which the orders of a minute are sent: of sends that are evenly spaced, a few ms of jitter would put one too many into some 60 s
LOG_LINE_BYTES = 26  # what CloudWatch adds to each
DIFFERENCE_BYTES = 16  # of an item, between meter and table: one answer may overtake another at the very end
PARKED = {"QUEUED": QUEUED, "UNKNOWN_ERROR": UNCERTAIN}
SETTLES = (20.0, 40.0)
REFUND = {"refund_message": "الرصيد المطلوب غير متوفر لهذا الرقم"}
DELAYED = "Order Delayed"


# ---------------------------------------------------------------------- the orders


@dataclass
class Order(OrderLog):
    """One order, and what the vendor will say of it."""

    at: float  # seconds after the run's start
    direct: dict[str, Any]  # what the sandbox is given
    late: float = 0.0  # how much later than planned it was sent
    is_sold: bool = False

    def has_settled(self) -> bool:
        """Whether its end was announced."""
        return self.outcome() is not None

    def first_notice(self, kinds: Iterable[str]) -> Optional[Any]:
        """The first event of one of these kinds."""
        return next((event for event in self.events_in_order() if event.kind in kinds), None)

    def check(self, truth: Mapping[str, Any], record: Optional[Mapping[str, Any]]) -> None:
        """Compares what was announced and stored with the vendor's truth. What has not come yet is no problem here."""
        self.check_numbering()
        kinds = [event.kind for event in self.events_in_order()]
        parked = {PARKED[step["status"]] for step in truth["timeline"] if step["status"] in PARKED}
        if kinds[:1] != [TRACKED] or any(count > 1 for count in Counter(kinds).values()):
            self.problems.append(f"events were {', '.join(kinds) or 'none'}")
        strange = [kind for kind in kinds if kind not in {TRACKED, DELAYED, *OUTCOMES, *parked}]
        if strange:
            self.problems.append(f"events that nobody wrote: {', '.join(strange)}")
        outcome = self.outcome()
        if outcome is None:
            return
        if OUTCOMES[outcome.kind] != truth["ends_as"]:
            self.problems.append(f"{outcome.kind}; the vendor ended with {truth['ends_as']}")
        if seconds_of(outcome.detail["occurred_at"]) < seconds_of(truth["ended_at"]):
            self.problems.append(f"{outcome.kind} before the vendor had stated it")
        if (record or {}).get("outcome", {}).get("S") != truth["ends_as"].lower():
            self.problems.append(f"stored as {record}")
        if self.product == "internet" and outcome.kind == FULFILLED and not outcome.detail["order"]["card"]["available"]:
            self.problems.append("fulfilled without its card")


def shop(per_minute: float, minutes: float, shape: str, rng: random.Random) -> list[Order]:
    """The orders of a run, evenly spread."""
    return [make_order(index, index * MINUTE / per_minute, shape, rng) for index in range(round(per_minute * minutes))]


def within(shortest: float, longest: float, shape: str, rng: random.Random) -> float:
    """A time within a documented range."""
    return rng.uniform(shortest, longest) if shape == "uniform" else shortest * (longest / shortest) ** rng.random()


def make_order(index: int, at: float, shape: str, rng: random.Random) -> Order:
    """One order with its timeline."""
    is_mobile = index % 5 in (0, 2, 4)
    if is_mobile:
        handling = within(2, 15, shape, rng)
        timeline = [step(0, "PENDING"), step(handling, "HANDLING")]
        after = handling + within(3, 8, shape, rng)
        rest = {"number": f"0{rng.choice('567')}{digits(rng, 8)}", "plan_code": "PREPAID_DJEZZY"}
    else:
        timeline = [step(0, "HANDLING")]
        after = within(3, 45, shape, rng)
        rest = {"number": f"036{digits(rng, 6)}", "type": "ADSL"}
    kind = rng.choices(("FULFILLED", "REFUNDED", "UNKNOWN_ERROR" if is_mobile else "QUEUED"), (92, 5, 3))[0]
    if kind in PARKED:
        timeline.append(step(after, kind))
        after += rng.uniform(*SETTLES)
        kind = rng.choice(("FULFILLED", "REFUNDED"))
    card = {"card_code": digits(rng, 12), "num_trans": f"AT-2026-{digits(rng, 5)}"}
    timeline.append(step(after, kind, REFUND if kind == "REFUNDED" else {} if is_mobile else card))
    product, id = "mobile" if is_mobile else "internet", f"{rng.getrandbits(96):024x}"
    direct = {"product": product, "id": id, "amount": 500, "ref": f"load-{index}-{id[:6]}", "timeline": timeline, **rest}
    return Order(f"order {index}", product, id=id, at=at, direct=direct)


def step(after: float, status: str, fields: Mapping[str, Any] = {}) -> dict[str, Any]:
    """A step of a timeline."""
    return {"after_seconds": round(after, 3), "status": status, "fields": dict(fields)}


def digits(rng: random.Random, count: int) -> str:
    """So many random digits."""
    return "".join(rng.choices("0123456789", k=count))


def seconds_of(moment: str) -> float:
    """An RFC 3339 time in seconds."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


# ---------------------------------------------------------------------- figures


def spread(values: Iterable[float]) -> dict[str, float]:
    """How many, their mean, their 95th percentile, the largest."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, "mean": 0.0, "p95": 0.0, "max": 0.0}
    return {"count": len(ordered), "mean": sum(ordered) / len(ordered), "p95": ordered[math.ceil(len(ordered) * 0.95) - 1], "max": ordered[-1]}


class Machine:
    """How busy the machine is, and one of its processes; where there is no /proc, nothing is known."""

    def __init__(self, pid: Optional[int]) -> None:
        self.pid = pid
        self.begin = self.last = self._read()
        self.shares: list[float] = []

    def _read(self) -> tuple[float, float, float, float]:
        """Busy and all ticks of all processors, those of the process, and the time."""
        try:
            ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            own = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return sum(ticks) - ticks[3] - ticks[4], sum(ticks), int(own[11]) + int(own[12]), time.monotonic()
        except (OSError, IndexError, ValueError):
            return 0, 0, 0, time.monotonic()

    def since_last(self) -> float:
        """Percent busy since the last time this was asked."""
        now, before = self._read(), self.last
        self.last = now
        self.shares.append(100 * (now[0] - before[0]) / max(now[1] - before[1], 1))
        return self.shares[-1]

    def figures(self) -> dict[str, float]:
        """The whole time."""
        end = self._read()
        wall = max(end[3] - self.begin[3], 0.001)
        return {"mean": 100 * (end[0] - self.begin[0]) / max(end[1] - self.begin[1], 1), "max": max(self.shares, default=0.0),
                "local_aws": 100 * (end[2] - self.begin[2]) / os.sysconf("SC_CLK_TCK") / wall}


class Logs:
    """The functions' logs from a moment on."""

    def __init__(self, folder: Path) -> None:
        self.files = {function: folder / f"{function}.log" for function in cloud.FUNCTIONS}
        self.since = {function: file.stat().st_size if file.exists() else 0 for function, file in self.files.items()}

    def lines(self, function: str) -> list[str]:
        """What has been written since."""
        file = self.files[function]
        return file.read_bytes()[self.since[function]:].decode(errors="replace").splitlines() if file.exists() else []

    def invocations(self, function: str) -> dict[str, float]:
        """How often it was called, for how many milliseconds altogether, and how many bytes it wrote as CloudWatch counts them."""
        lines = self.lines(function)
        billed = [int(found[1]) for line in lines if (found := re.search(r"^REPORT .*Billed Duration: (\d+) ms", line))]
        # The template keeps Lambda's own lines out of the log (SystemLogLevel: WARN); the local AWS writes them all the same.
        ours = [line for line in lines if not line.startswith(("START RequestId", "END RequestId", "REPORT RequestId"))]
        return {"invocations": len(billed), "milliseconds": sum(billed), "log_bytes": sum(len(line.encode()) + LOG_LINE_BYTES for line in ours)}

    def ticks(self) -> dict[str, list[tuple[float, int]]]:
        """Of each order when its ticks were done, and how long they said to wait."""
        found: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for line in self.lines("poller"):
            if line.startswith("{") and '"wait_seconds"' in line:
                said = json.loads(line)
                if said.get("function") == "poller" and said.get("order"):
                    found[said["order"]].append((seconds_of(said["timestamp"]), said["wait_seconds"]))
        return {order: sorted(ticks) for order, ticks in found.items()}

    def lateness(self) -> dict[str, float]:
        """How much later than it should a tick was done: its own work, and what the machine and the local AWS add."""
        return spread(later - earlier - wait for ticks in self.ticks().values() for (earlier, wait), (later, _) in zip(ticks, ticks[1:]))


# ---------------------------------------------------------------------- a run


class Load(StackClient):
    """One run."""

    def __init__(self, env: Mapping[str, str], console: Console, options: argparse.Namespace, mode: str, meter_url: str) -> None:
        super().__init__(env)
        self.console, self.mode, self.meter_url = console, mode, meter_url
        self.orders = shop(options.orders_per_minute, options.minutes, options.shape, random.Random(options.seed))
        self.by_key = {order.key(): order for order in self.orders}
        self.truth: dict[str, dict[str, Any]] = {}
        self.wrong: dict[str, list[str]] = defaultdict(list)
        self.bus: Counter[str] = Counter()  # events heard, by kind
        self.began_at = time.time()
        self.sent_seconds = 0.0

    def blame(self, what: str, example: str) -> None:
        """Notes that something fell short."""
        self.wrong[what].append(example)

    def run(self, machine: Machine) -> None:
        """Sends everything, and waits until the end of each order was announced."""
        listener = threading.Thread(target=self.listen, daemon=True)
        listener.start()
        began = time.monotonic()
        try:
            with ThreadPoolExecutor(SHOP_THREADS) as sellers:
                sales = [sellers.submit(self.sell, order, began) for order in self.orders]
                try:
                    self.follow(began, machine, sales)
                except BaseException:
                    self.over.set()
                    sellers.shutdown(wait=False, cancel_futures=True)
                    raise
                for sale, order in zip(sales, self.orders):
                    sale.cancel()
                    if sale.cancelled() or sale.exception() is not None:
                        self.blame("orders that could not be sent", f"{order.name}: {None if sale.cancelled() else sale.exception()}")
            time.sleep(QUIET_SECONDS)
        finally:
            self.over.set()
            listener.join(timeout=30)
        self.hear_all()

    def sell(self, order: Order, began: float) -> None:
        """Sends one order when its time has come, and has it tracked."""
        if self.over.wait(max(began + order.at - time.monotonic(), 0)):
            return
        order.late = time.monotonic() - began - order.at
        self.use_key(order.product)
        self.sandbox("/orders", order.direct)
        self.tracker("PUT", f"/orders/{order.product}/{order.id}", {"ref": order.direct["ref"]})
        order.is_sold = True
        self.sent_seconds = max(self.sent_seconds, time.monotonic() - began)

    def use_key(self, product: str) -> None:
        """A send that counts on the key and makes nothing: its body is refused."""
        request = urllib.request.Request(f"{self.env['ONECLICKDZ_BASE_URL']}/{product}/send", b"{}",
                                         {"content-type": "application/json", "X-Access-Token": self.env["ONECLICKDZ_API_KEY"]}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        if status != 400:
            raise Failure(f"a send was answered with {status}, expected 400")

    def hear_all(self) -> None:
        """Takes in what was heard."""
        while not self.heard.empty():
            event, heard_at = self.heard.get()
            kind, key = event["detail-type"], str(event["detail"].get("event_id", "")).partition("#")[0]
            self.bus[kind] += 1
            if key in self.by_key:
                self.by_key[key].hear(kind, event["detail"], heard_at)
            elif not key.startswith("vendor/"):
                self.blame("events about orders that nobody sent", f"{kind} {key}")

    def follow(self, began: float, machine: Machine, sales: list[Future[None]]) -> None:
        """Says every few seconds how far it is; ends when every order's end was announced, or it takes too long."""
        deadline, told = self.orders[-1].at + (SETTLE_SECONDS if self.mode == "list" else SINGLE_SETTLE_SECONDS), 0.0
        while (now := time.monotonic() - began) < deadline:
            self.hear_all()
            if self.listener_error:
                raise Failure(self.listener_error)
            settled = sum(order.has_settled() for order in self.orders)
            if now - told >= PROGRESS_SECONDS:
                told = now
                self.tell(now, settled, machine)
            if settled == len(self.orders) or (all(sale.done() for sale in sales) and settled == sum(order.is_sold for order in self.orders)):
                self.tell(now, settled, machine)
                return
            time.sleep(0.25)

    def tell(self, now: float, settled: int, machine: Machine) -> None:
        """One line of progress."""
        window = self.sandbox(f"/calls/windows?seconds={WINDOW_SECONDS}")
        notices = self.notices(self.orders, {order["id"]: order for order in self.sandbox("/orders")["orders"]})
        notice, waiting = spread(notices["in_flight"]), spread(notices["unheard"])
        sold = [order for order in self.orders if order.is_sold]
        parked = sum(not order.has_settled() and order.first_notice((*PARKED.values(), DELAYED)) is not None for order in sold)
        self.console.print(
            f"{now:5.0f} s  {len(sold)} of {len(self.orders)} sent; in flight {len(sold) - settled - parked}, parked {parked}, done {settled}; "
            f"{window['total']} calls, highest minute {window['highest']} of {LIMIT}; notice {notice['mean']:.1f} s, p95 {notice['p95']:.1f} s, "
            f"{waiting['count']} not heard yet (the oldest for {waiting['max']:.0f} s); CPU {machine.since_last():.0f} %", highlight=False, soft_wrap=True)

    # ------------------------------------------------------------------ measuring

    def notices(self, orders: Iterable[Order], truth: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
        """Seconds from what the vendor had to say to the event: in flight (on the bus, as dated by the event, by product), and after parking.
        What the vendor has said and nobody has heard yet is as old as it is now."""
        found: dict[str, list[float]] = defaultdict(list)
        now = time.time()
        for order in orders:
            if order.id not in truth:
                continue
            said = truth[order.id]
            entered = next((moment["at"] for moment in said["timeline"] if moment["status"] in PARKED), None)
            first = order.first_notice((*PARKED.values(), *OUTCOMES))
            news = seconds_of(entered or said["ended_at"])
            if first is None:
                if news < now:
                    found["unheard"].append(now - news)
                continue
            found["in_flight"].append(first.heard_at - news)
            found["dated"].append(seconds_of(first.detail["occurred_at"]) - news)
            found[order.product].append(first.heard_at - news)
            outcome = order.outcome()
            if outcome is not None and outcome is not first:
                found["parked"].append(outcome.heard_at - seconds_of(said["ended_at"]))
        return found

    def judge(self, items: Iterable[Mapping[str, Any]]) -> int:
        """Compares everything heard and stored with the truth; answers how many orders are not done."""
        records = {f"{item['product']['S']}/{item['id']['S']}": item for item in items if item["sk"]["S"] == "ORDER"}
        for order in self.orders:
            if order.is_sold:
                order.check(self.truth[order.id], records.get(order.key()))
                for problem in order.problems:
                    self.blame("orders that did not end as scripted", f"{order.name}: {order.key()}: {problem}")
        for name, count in self.dead_letters().items():
            self.blame("dead letters", f"{count} in {name}")
        return sum(not order.has_settled() for order in self.orders)

    def measure(self, machine: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The figures of the run, and what was counted of what costs, all told. The logs come later."""
        self.truth = {order["id"]: order for order in self.sandbox("/orders")["orders"]}
        items = self.items()
        unfinished = self.judge(items)
        calls = self.sandbox("/calls")["calls"]
        kinds = Counter(kind_of_call(call["endpoint"]) for call in calls)
        refused = [call for call in calls if call["http"] == 429]
        if refused:
            self.blame("429s", f"{len(refused)}, the first at {refused[0]['at']}")
        notices = self.notices(self.orders, self.truth)
        rows = [call["rows"] for call in calls if call.get("rows") is not None]
        counted = self.http("GET", f"{self.meter_url}/_meter", {})
        differences = self.differences(items)
        executions = self.executions()
        figures = {
            "notice": spread(notices["in_flight"]), "notice_as_dated": spread(notices["dated"]), "notice_mobile": spread(notices["mobile"]),
            "notice_internet": spread(notices["internet"]),
            "notice_at_least": spread(notices["in_flight"] + notices["unheard"]), "notice_parked": spread(notices["parked"]),
            "calls": dict(kinds), "rows_per_list": sum(rows) / len(rows) if rows else 0.0, "refused": len(refused),
            "highest_window": self.sandbox(f"/calls/windows?seconds={WINDOW_SECONDS}")["highest"], "unfinished": unfinished,
            "delayed": self.bus[DELAYED], "events": dict(self.bus), "cpu": dict(machine), "sent_seconds": self.sent_seconds,
            "sent_late": spread(order.late for order in self.orders), "meter": {**{name: counted[name] for name in counted if name != "kinds"}, **differences},
        }
        totals = {"dynamodb": counted["kinds"], "executions": executions, "events": sum(self.bus.values()),
                  "kms": sum("card_ciphertext" in item for item in items), "api": sum(order.is_sold for order in self.orders)}
        return figures, totals

    def differences(self, items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """How far the meter's items are from those in the table."""
        real = {f"{item['pk']['S']} {item['sk']['S']}": size_of(item) for item in items}
        model = self.http("GET", f"{self.meter_url}/_meter/sizes", {})
        return {"items": len(real), "largest_difference_bytes": max((abs(real.get(key, 0) - model.get(key, 0)) for key in real.keys() | model.keys()), default=0)}

    def executions(self) -> dict[str, float]:
        """How many there were, their seconds (each rounded up to a tenth, as it is billed), and how many have not ended."""
        pages = self.cloud.client("stepfunctions").get_paginator("list_executions").paginate(stateMachineArn=self.env["STATE_MACHINE_ARN"])
        found = [execution for page in pages for execution in page["executions"]]
        lasted = [(execution.get("stopDate") or datetime.now(timezone.utc)) - execution["startDate"] for execution in found]
        return {"count": len(found), "seconds": sum(math.ceil(time.total_seconds() * 10) / 10 for time in lasted),
                "running": sum(execution["status"] == "RUNNING" for execution in found)}


def kind_of_call(endpoint: str) -> str:
    """send, check or list."""
    last = endpoint.rpartition("/")[2]
    return "check" if last.startswith("check") else last


def for_each(totals: Mapping[str, Any], logs: Logs, orders: int) -> dict[str, Any]:
    """What was counted, for each order on average."""
    functions = {function: logs.invocations(function) for function in cloud.FUNCTIONS}
    ticks = functions["poller"]["invocations"]
    kinds = totals["dynamodb"]
    return {
        "dynamodb": {
            "write_units": sum(kind["write_units"] for kind in kinds.values()) / orders,
            "read_units": sum(kind["read_units"] for kind in kinds.values()) / orders,
            "kinds": {name: {unit: value / orders for unit, value in kind.items()} for name, kind in kinds.items()},
        },
        "functions": {function: {name: value / orders for name, value in of_one.items()} for function, of_one in functions.items()},
        "executions": {
            "count": totals["executions"]["count"] / orders, "seconds": totals["executions"]["seconds"] / orders,
            # Poll, Done? and Wait of each tick; of the last one Settled instead of Wait.
            "transitions": 3 * ticks / orders,
        },
        "events": totals["events"] / orders, "kms": totals["kms"] / orders, "api": totals["api"] / orders,
        "log_bytes": sum(of_one["log_bytes"] for of_one in functions.values()) / orders,
    }


# ---------------------------------------------------------------------- all of it


def run_mode(console: Console, options: argparse.Namespace, mode: str) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """One run, from nothing to nothing; answers what is kept of it, and what fell short."""
    meter = Server("meter", DIRECTORY / "meter")
    own, port = Stack(DIRECTORY), free_port()
    meter_url = f"http://127.0.0.1:{port}"
    chosen = {**SETTINGS, "VENDOR_CALLS_PER_MINUTE": str(calls_left(options)),
              "LIST_CHECKS": "on" if mode == "list" else "off", "SANDBOX_FLAGS": f"--keys-per-minute {LIMIT}"}
    own.down()
    meter.stop()
    try:
        meter.start([sys.executable, "-m", "tests.scenarios.meter", "--port", str(port), "--stack-env", str(own.env_file),
                     "--into", str(DIRECTORY / f"meter-{mode}.json")], os.environ)
        meter.wait_for("to listen", lambda: "listening" in meter.log.read_text()[-200:], 15)
        own = stack.up(DIRECTORY, {**settings.without(os.environ), **chosen}, not options.no_build, {"AWS_ENDPOINT_URL_DYNAMODB": meter_url})
        time.sleep(QUIET_SECONDS)  # what starting the stack has logged is in the files then
        logs, machine = Logs(own.logs), Machine(own.aws.pid())
        load = Load(own.read_env(), console, options, mode, meter_url)
        before = load.http("GET", f"{meter_url}/_meter", {})["kinds"]
        load.run(machine)
        busy = machine.figures()
        figures, totals = load.measure(busy)
        totals["dynamodb"] = less(totals["dynamodb"], before)
    finally:
        own.down()
        meter.stop()
    figures["lateness"] = logs.lateness()
    kept = {"mode": mode, "at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "orders": len(load.orders), "minutes": options.minutes,
            "orders_per_minute": options.orders_per_minute, "seed": options.seed, "figures": figures, "per_order": for_each(totals, logs, len(load.orders))}
    hold(load, figures, mode, options.untimed)
    return kept, load.wrong


def calls_left(options: argparse.Namespace) -> int:
    """What the tracker may use of the key's calls."""
    return LIMIT - math.ceil(options.orders_per_minute) - (SPARE if options.untimed else 0)


def hold(load: Load, figures: Mapping[str, Any], mode: str, untimed: bool) -> None:
    """Holds the figures against the gates, with list checks only."""
    if mode == "list" and figures["unfinished"]:
        load.blame("orders that did not end", f"{figures['unfinished']} of {len(load.orders)}")
    if untimed:
        pages, single = figures["calls"].get("list", 0), figures["calls"].get("check", 0)
        if mode == "list" and pages < single:
            load.blame("calls for each order where one page shows many", f"{single} by id, {pages} pages")
        return
    if mode == "list":
        for name, gate in (("mean", MEAN_GATE), ("p95", P95_GATE)):
            if figures["notice"][name] > gate:
                load.blame("gates missed", f"{name} of the notice {figures['notice'][name]:.2f} s, the gate is {gate} s")
    meter = figures["meter"]
    if meter["not_understood"]:
        load.blame("requests that the meter did not understand", str(meter["not_understood"]))
    if meter["largest_difference_bytes"] > DIFFERENCE_BYTES and not figures["unfinished"]:  # while some are polled, the table changes between two looks
        load.blame("items that the meter had otherwise", f"by {meter['largest_difference_bytes']} bytes")


def less(kinds: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What was counted since."""
    rest = {name: {unit: value - before.get(name, {}).get(unit, 0) for unit, value in kind.items()} for name, kind in kinds.items()}
    return {name: kind for name, kind in rest.items() if kind["count"]}


def keep(kept: Mapping[str, Any]) -> None:
    """Keeps what was counted, beside what is known of the other mode."""
    known = json.loads(COUNTED.read_text()) if COUNTED.is_file() else {}
    COUNTED.write_text(json.dumps({**known, kept["mode"]: kept}, indent=1) + "\n")


def notice_text(value: Mapping[str, float]) -> str:
    """A spread in a few words."""
    return f"{value['mean']:.2f} / {value['p95']:.2f} / {value['max']:.1f}" if value["count"] else "–"


def rows(kept: Mapping[str, Any]) -> dict[str, str]:
    """What a table says of a run."""
    figures, each = kept["figures"], kept["per_order"]
    orders = kept["orders"]
    calls = {kind: figures["calls"].get(kind, 0) for kind in ("send", "check", "list")}
    return {
        "orders, a minute": f"{orders}, {kept['orders_per_minute']:g}",
        "notice, s: mean / p95 / max": notice_text(figures["notice"]),
        "  with what was never heard, at least": notice_text(figures["notice_at_least"]),
        "  as the event dates itself": notice_text(figures["notice_as_dated"]),
        "  mobile": notice_text(figures["notice_mobile"]),
        "  internet": notice_text(figures["notice_internet"]),
        "  settled when parked": notice_text(figures["notice_parked"]),
        "calls per order: check, list": f"{calls['check'] / orders:.2f}, {calls['list'] / orders:.2f}",
        "rows per list": f"{figures['rows_per_list']:.1f}" if calls["list"] else "–",
        f"highest {WINDOW_SECONDS} s on the key": f"{figures['highest_window']} of {LIMIT}",
        "429s": str(figures["refused"]),
        "not done, delayed": f"{figures['unfinished']}, {figures['delayed']}",
        "ticks per order": f"{each['functions']['poller']['invocations']:.2f}",
        "tick later than asked, s": notice_text(figures["lateness"]),
        "CPU, %: mean / max / local AWS": f"{figures['cpu']['mean']:.0f} / {figures['cpu']['max']:.0f} / {figures['cpu']['local_aws']:.0f}",
        "DynamoDB units: write, read": f"{each['dynamodb']['write_units']:.2f}, {each['dynamodb']['read_units']:.2f}",
        "execution, s": f"{each['executions']['seconds']:.1f}",
        "log, bytes": f"{each['log_bytes']:.0f}",
    }


def show(console: Console, runs: list[Mapping[str, Any]]) -> None:
    """The runs side by side, and what an order costs in DynamoDB."""
    table = Table(title="Orders under load", title_justify="left")
    table.add_column("")
    columns = [rows(kept) for kept in runs]
    for kept in runs:
        table.add_column(f"{kept['mode']} checks", justify="right")
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    console.print(table)
    table = Table(title="DynamoDB, for each order", title_justify="left")
    table.add_column("")
    for kept in runs:
        for name in ("count", "write units", "read units"):
            table.add_column(f"{kept['mode']}: {name}", justify="right")
    for kind in sorted({kind for kept in runs for kind in kept["per_order"]["dynamodb"]["kinds"]}):
        cells = []
        for kept in runs:
            found = kept["per_order"]["dynamodb"]["kinds"].get(kind)
            cells += [f"{found[name]:.2f}" if found else "–" for name in ("count", "write_units", "read_units")]
        table.add_row(kind, *cells)
    console.print(table)


def line(kept: Mapping[str, Any]) -> str:
    """A run in one line."""
    figures, orders = kept["figures"], kept["orders"]
    meter = figures["meter"]
    return (f"{kept['mode']} checks: {orders} orders at {kept['orders_per_minute']:g} a minute, notice {figures['notice']['mean']:.2f} s, "
            f"p95 {figures['notice']['p95']:.2f} s ({figures['notice']['count']} in flight; with those never heard "
            f"{figures['notice_at_least']['mean']:.1f} s at least), {figures['refused']} refused, {figures['unfinished']} not done, "
            f"{figures['calls'].get('check', 0) / orders:.2f} checks and {figures['calls'].get('list', 0) / orders:.2f} lists an order, "
            f"highest minute {figures['highest_window']} of {LIMIT}, CPU {figures['cpu']['mean']:.0f} %, ticks {figures['lateness']['mean']:.2f} s late "
            f"(p95 {figures['lateness']['p95']:.2f} s), meter: {meter['requests']} requests, {meter['added_milliseconds']:.2f} ms each, "
            f"{meter['items']} items at most {meter['largest_difference_bytes']} bytes off, {meter['overtaken']} overtaken; seed {kept['seed']}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders-per-minute", type=float, default=100, help="how many orders the shop sends (default: 100)")
    parser.add_argument("--minutes", type=float, default=10, help="for how many minutes (default: 10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all random choices (default: a random one)")
    parser.add_argument("--shape", choices=("log-uniform", "uniform"), default="log-uniform", help="how times lie within the documented ranges (default: log-uniform)")
    parser.add_argument("--no-build", action="store_true", help="take what is built")
    parser.add_argument("--untimed", action="store_true", help="for a busy machine: what becomes of the orders counts, and how many calls it took, but no time")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--single", action="store_true", help="without list checks, and without the gates of the delays")
    which.add_argument("--compare", action="store_true", help="with list checks and without, one after the other")
    options = parser.parse_args()
    if calls_left(options) <= BURST or options.orders_per_minute <= 0 or round(options.orders_per_minute * options.minutes) < 1:
        parser.error(f"from one order in all to {LIMIT - BURST - 1} a minute: the tracker has what is left of {LIMIT} calls, and needs more than its burst of {BURST}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 150)
    runs, wrong = [], {}
    try:
        for mode in ("list", "single") if options.compare else ("single",) if options.single else ("list",):
            console.print(f"{mode} checks, {options.orders_per_minute:g} orders a minute for {options.minutes:g} minutes, "
                          f"{calls_left(options)} calls a minute for the tracker, seed {options.seed}", highlight=False, soft_wrap=True)
            kept, wrong[mode] = run_mode(console, options, mode)
            if not options.untimed:
                keep(kept)
            runs.append(kept)
            options.no_build = True
    except Failure as failure:
        tools.fail(f"{failure}\nlogs: {DIRECTORY / 'logs'}")
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    show(console, runs)
    console.print(cost.table({kept["mode"]: kept for kept in runs}))
    for mode, what, examples in ((mode, what, examples) for mode, of_mode in wrong.items() for what, examples in of_mode.items()):
        console.print(f"wrong ({mode} checks): {what}: {len(examples)}, such as\n  " + "\n  ".join(examples[:5]), style="red", highlight=False, soft_wrap=True)
    for kept in runs:
        console.print(f"{'FAILED' if wrong[kept['mode']] else 'held'}: {line(kept)}", highlight=False, soft_wrap=True)
    print(f"counted: {os.path.relpath(COUNTED)}; logs: {os.path.relpath(DIRECTORY / 'logs')}")
    sys.exit(1 if any(wrong.values()) else 0)


if __name__ == "__main__":
    main()
