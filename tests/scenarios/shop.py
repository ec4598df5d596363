"""A shop that sends orders on one vendor key and has them tracked, and how its runs are measured: the common part of `load.py` and `backlog.py`.

The sandbox gives orders that are sent to it fixed times. So each order is created through the sandbox's control API, with a timeline of its own, right after
a call to the vendor's send that counts on the key and is refused for its body (400). The two together stand for one send.

Three of five orders are mobile. They take as long as the vendor documents, spread evenly on a logarithmic scale: mobile `PENDING` 2 to 15 s, then `HANDLING`
3 to 8 s; internet `HANDLING` 3 to 45 s. 92 % end `FULFILLED` (internet with a card), 5 % `REFUNDED`. 3 % become `UNKNOWN_ERROR` (mobile) or `QUEUED`
(internet), and are fulfilled or refunded 20 to 40 s later.

The notice is the time from the vendor's change (the end, or the entry into `UNKNOWN_ERROR` or `QUEUED`) until the event is on the bus, by the timestamp
of the queue that receives every event.
"""

import argparse
import json
import math
import os
import queue
import random
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from infra.local import cloud, tools
from infra.local.local_stack import Stack
from infra.local.processes import Failure, processor_time
from tests.scenarios.order_log import FULFILLED, OUTCOMES, QUEUED, TRACKED, UNCERTAIN, Event, OrderLog
from tests.scenarios.stack_client import StackClient

MINUTE = 60.05  # the orders of a minute are sent in so many seconds: a few ms of jitter must not put one too many into a window of 60 s
PROGRESS_SECONDS = 5.0
SHOP_THREADS = 12
PARKED = {"QUEUED": QUEUED, "UNKNOWN_ERROR": UNCERTAIN}
DELAYED = "Order Delayed"
REFUND = {"refund_message": "الرصيد المطلوب غير متوفر لهذا الرقم"}


@dataclass
class Order(OrderLog):
    """One order of the shop: its events, and what the vendor is to say of it."""

    at: float  # seconds after the start of the run
    direct: dict[str, Any]  # for the sandbox
    late: float = 0.0  # seconds after its planned time
    is_sold: bool = False

    def first_change(self) -> Event | None:
        """The first event about a change that the vendor made: parked, or an outcome."""
        return next((event for event in self.events_in_order() if event.kind in (*PARKED.values(), *OUTCOMES)), None)

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares events and record with the vendor's truth. An event that has not come yet is no problem here."""
        self.check_numbering()
        kinds = [event.kind for event in self.events_in_order()]
        expected = {TRACKED, DELAYED, *OUTCOMES, *(PARKED[moment["status"]] for moment in truth["timeline"] if moment["status"] in PARKED)}
        if kinds[:1] != [TRACKED] or len(set(kinds)) < len(kinds) or not expected.issuperset(kinds):
            self.problems.append(f"events were {', '.join(kinds) or 'none'}")
        outcome = self.outcome()
        if outcome is None:
            return
        if OUTCOMES[outcome.kind] != truth["ends_as"]:
            self.problems.append(f"{outcome.kind}; the vendor ended with {truth['ends_as']}")
        if seconds_of(outcome.detail["occurred_at"]) < seconds_of(truth["ended_at"]):
            self.problems.append(f"{outcome.kind} before the vendor had stated it")
        if record.get("outcome", {}).get("S") != truth["ends_as"].lower():
            self.problems.append(f"stored as {record}")
        if self.product == "internet" and outcome.kind == FULFILLED and not outcome.detail["order"]["card"]["available"]:
            self.problems.append("fulfilled without a card")


def make_orders(count: int, per_minute: float, rng: random.Random, shape: str = "log-uniform") -> list[Order]:
    """Orders with their timelines, evenly sent."""
    def within(shortest: float, longest: float) -> float:
        return rng.uniform(shortest, longest) if shape == "uniform" else shortest * (longest / shortest) ** rng.random()
    orders = []
    for index in range(count):
        order_id, is_mobile = f"{rng.getrandbits(96):024x}", index % 5 in (0, 2, 4)
        if is_mobile:
            handling = within(2, 15)
            timeline, ends = [step(0, "PENDING"), step(handling, "HANDLING")], handling + within(3, 8)
            fields = {"product": "mobile", "number": f"0{rng.choice('567')}{rng.randrange(10**8):08}", "plan_code": "PREPAID_DJEZZY"}
        else:
            timeline, ends = [step(0, "HANDLING")], within(3, 45)
            fields = {"product": "internet", "number": f"036{rng.randrange(10**6):06}", "type": "ADSL"}
        kind = rng.choices(("FULFILLED", "REFUNDED", "UNKNOWN_ERROR" if is_mobile else "QUEUED"), (92, 5, 3))[0]
        if kind in PARKED:
            timeline.append(step(ends, kind))
            kind, ends = rng.choice(("FULFILLED", "REFUNDED")), ends + rng.uniform(20, 40)
        timeline.append(step(ends, kind, REFUND if kind == "REFUNDED" else {} if is_mobile else card(rng)))
        direct = {"id": order_id, "amount": 500, "ref": f"load-{index}-{order_id[:6]}", "timeline": timeline, **fields}
        orders.append(Order(f"order {index}", fields["product"], id=order_id, at=index * MINUTE / per_minute, direct=direct))
    return orders


def step(after: float, status: str, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A step of a timeline."""
    return {"after_seconds": round(after, 3), "status": status, "fields": dict(fields or {})}


def card(rng: random.Random) -> dict[str, str]:
    """The fields of a delivered card."""
    return {"card_code": f"{rng.randrange(10**12):012}", "num_trans": f"AT-2026-{rng.randrange(10**5):05}"}


def seconds_of(moment: str) -> float:
    """An RFC 3339 time in seconds."""
    return datetime.fromisoformat(moment).timestamp()


class Shop(StackClient):
    """The shop of one run on one stack, and its orders."""

    def __init__(self, env: Mapping[str, str], console: Console, orders: Sequence[Order]) -> None:
        super().__init__(env)
        self.console, self.orders, self.closed = console, orders, threading.Event()
        self.by_key = {order.key(): order for order in orders}
        self.wrong: dict[str, list[str]] = defaultdict(list)  # what fails the run, with examples
        self.bus: Counter[str] = Counter()  # events received, by kind

    def sell(self, order: Order, began: float) -> None:
        """Sends one order when its time has come, and has it tracked."""
        if self.closed.wait(max(began + order.at - time.monotonic(), 0)):
            return
        order.late = time.monotonic() - began - order.at
        self.use_key(order.product)
        self.sandbox("/orders", order.direct)
        self.tracker("PUT", f"/orders/{order.product}/{order.id}", {"ref": order.direct["ref"]})
        order.is_sold = True

    def use_key(self, product: str) -> None:
        """A send that counts on the key and creates nothing: its body is refused."""
        answer = urllib3.request("POST", f"{self.env['ONECLICKDZ_BASE_URL']}/{product}/send", json={}, timeout=30, retries=False,
                                 headers={"X-Access-Token": self.env["ONECLICKDZ_API_KEY"]})
        if answer.status != 400:
            raise Failure(f"a send was answered with {answer.status}, expected 400")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receives events within the block, and takes in the last ones after it."""
        listener = threading.Thread(target=self.listen, daemon=True)
        listener.start()
        try:
            yield
        finally:
            self.over.set()
            listener.join(timeout=30)
        self.receive(0.01)

    @contextmanager
    def selling(self, began: float) -> Iterator[list[Future[None]]]:
        """Sells each order at its time, within the block."""
        with ThreadPoolExecutor(SHOP_THREADS) as sellers:
            sales = [sellers.submit(self.sell, order, began) for order in self.orders]
            try:
                yield sales
            finally:
                self.closed.set()
                sellers.shutdown(wait=False, cancel_futures=True)
        for sale, order in zip(sales, self.orders, strict=True):
            if not sale.cancelled() and sale.exception() is not None:
                self.wrong["orders that could not be sent"].append(f"{order.name}: {sale.exception()}")

    def receive(self, seconds: float) -> None:
        """Takes in the events that were received; waits up to so many seconds for the first."""
        if self.listener_error:
            raise Failure(self.listener_error)
        with suppress(queue.Empty):
            event, received_at = self.received.get(timeout=seconds)
            while True:
                kind, detail = event["detail-type"], event["detail"]
                key = str(detail.get("event_id", "")).partition("#")[0]
                self.bus[kind] += 1
                if key in self.by_key:
                    self.by_key[key].receive(kind, detail, received_at)
                else:
                    self.receive_other(kind, key, detail)
                event, received_at = self.received.get_nowait()

    def receive_other(self, kind: str, key: str, detail: Mapping[str, Any]) -> None:
        """Takes in an event that is about no order of the shop."""
        if not key.startswith("vendor/"):
            self.wrong["events about unknown orders"].append(f"{kind} {key}: {json.dumps(detail, ensure_ascii=False)}")

    def calls(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """All calls to the vendor, and the figures that are 0 in a good run."""
        calls = self.sandbox("/calls")["calls"]
        return calls, {"429s": sum(call["http"] == 429 for call in calls), "dead letters": sum(self.dead_letters().values())}

    def notices(self, is_wanted: Callable[[float], bool] = lambda change: True) -> dict[str, list[float]]:
        """Notices, for the changes at the times that are wanted: `in_flight` (also by product, and `dated`: by the event's own time), of outcomes after
        parking (`parked`), and the age of the changes without an event (`unreceived`)."""
        truth = {order["id"]: order for order in self.sandbox("/orders")["orders"]}
        found: dict[str, list[float]] = defaultdict(list)
        now = time.time()
        for order in [order for order in self.orders if order.id in truth]:
            said = truth[order.id]
            ended = seconds_of(said["ended_at"])
            change = next((seconds_of(moment["at"]) for moment in said["timeline"] if moment["status"] in PARKED), ended)
            first, outcome = order.first_change(), order.outcome()
            if not is_wanted(change):
                continue
            if first is None:
                found["unreceived"] += [now - change] if change < now else []
                continue
            found["in_flight"].append(first.received_at - change)
            found[order.product].append(first.received_at - change)
            found["dated"].append(seconds_of(first.detail["occurred_at"]) - change)
            if outcome is not None and outcome is not first:
                found["parked"].append(outcome.received_at - ended)
        return found


class Logs:
    """The functions' logs from a moment on."""

    def __init__(self, folder: Path) -> None:
        self.files = {function: folder / f"{function}.log" for function in cloud.FUNCTIONS}
        self.since = {function: file.stat().st_size if file.exists() else 0 for function, file in self.files.items()}

    def lines(self, function: str) -> list[str]:
        """The lines since then."""
        file = self.files[function]
        return file.read_bytes()[self.since[function]:].decode(errors="replace").splitlines() if file.exists() else []

    def entries(self, function: str, text: str = "") -> list[dict[str, Any]]:
        """The function's own lines that contain this text."""
        return [json.loads(line) for line in self.lines(function) if line.startswith("{") and text in line]

    def milliseconds(self, function: str, kind: str = "Duration") -> list[float]:
        """The duration of each invocation."""
        return [float(found[1]) for line in self.lines(function) if (found := re.search(rf"^REPORT .*?\t{kind}: ([\d.]+) ms", line))]

    def tick_delays(self) -> dict[str, float]:
        """Seconds between two ticks of an order beyond the wait that the first one asked for: the tick's own work, the machine and the local AWS."""
        ticks: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for said in self.entries("poller", '"wait_seconds"'):
            if said.get("function") == "poller" and said.get("order"):
                ticks[said["order"]].append((seconds_of(said["timestamp"]), said["wait_seconds"]))
        return spread(later - earlier - wait for of_order in ticks.values() for (earlier, wait), (later, _) in pairwise(sorted(of_order)))


def busy(own: Stack) -> dict[str, float]:
    """How busy the machine is, over the last 5 minutes. Where there is no /proc, the local AWS shows 0."""
    return {"load average per processor": os.getloadavg()[1] / (os.cpu_count() or 1),
            "CPU time of the local AWS, s": int(processor_time(own.aws.pid() or 0) or 0) / 1e9}


def spread(values: Iterable[float]) -> dict[str, float]:
    """Mean, 95th percentile, maximum and count."""
    ordered = sorted(values)
    shown = ordered or [0.0]
    return {"mean": sum(shown) / len(shown), "p95": shown[math.ceil(len(shown) * 0.95) - 1], "max": shown[-1], "count": len(ordered)}


def text_of(figure: Any) -> str:
    """A number, or a spread as mean / 95th percentile / maximum (count)."""
    if isinstance(figure, Mapping):
        return f"{figure['mean']:.2f} / {figure['p95']:.2f} / {figure['max']:.1f} ({figure['count']})"
    return f"{figure:.2f}" if isinstance(figure, float) else str(figure)


def show(console: Console, title: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints figures by name, with a column for each run."""
    table = Table(title=title, title_justify="left")
    for head in ("", *columns):
        table.add_column(head, justify="right" if head else "left")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(name, *(text_of(column.get(name, "–")) for column in columns.values()))
    console.print(table, soft_wrap=False)


def parse(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Console]:
    """Adds the options that both scenarios have, and parses them. A TERM ends the run as an error does: the stack is taken down."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all random choices (default: a random one)")
    parser.add_argument("--no-build", action="store_true", help="use the existing build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return parser.parse_args(), Console(width=None if sys.stdout.isatty() else 150, highlight=False, soft_wrap=True)


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turns what may fail in a run into one message and an exit status."""
    try:
        yield
    except Failure as failure:
        tools.fail(f"{failure}\nlogs: {directory / 'logs'}")
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def conclude(shop: Shop, about: str, figures: Mapping[str, Any], gates: Mapping[str, float], names: Iterable[str]) -> None:
    """Holds the figures against the gates (the most that is allowed); prints what is wrong, and the named figures in one line."""
    for name, most in {"429s": 0, "dead letters": 0, **gates}.items():
        if figures[name] > most:
            shop.wrong["gates missed"].append(f"{name}: {text_of(figures[name])}, the gate is {most:g}")
    for what, examples in shop.wrong.items():
        shop.console.print(f"wrong ({about}): {what}: {len(examples)}, such as\n  " + "\n  ".join(examples[:5]), style="red", markup=False)
    line = "; ".join(f"{name.strip()} {text_of(figures[name])}" for name in names)
    shop.console.print(f"{'FAILED' if shop.wrong else 'held'}: {about}: {line}", markup=False)
