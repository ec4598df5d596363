"""A shop that sends orders on one vendor key and has them tracked, and how its runs are measured: the common part of `load.py` and `backlog.py`.

The sandbox gives orders that are sent to it fixed times. So each order is created through the sandbox's control API, with a timeline of its own, right after
a call to the vendor's send that counts on the key and is refused for its body (400). The two together stand for one send.

Three of five orders are mobile. They take as long as the vendor documents, spread evenly on a logarithmic scale: mobile `PENDING` 2 to 15 s, then `HANDLING`
3 to 8 s; internet `HANDLING` 3 to 45 s. 92 % end `FULFILLED` (internet with a card), 5 % `REFUNDED`. 3 % become `UNKNOWN_ERROR` (mobile) or `QUEUED`
(internet), and are fulfilled or refunded 20 to 40 s later.

The notice is the time from the vendor's change (the end, or the entry into `UNKNOWN_ERROR` or `QUEUED`) until the queue of all events has the event.
"""

import json
import math
import os
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.table import Table

from infra.local import cloud
from infra.local.local_stack import Stack
from infra.local.processes import processor_time
from tests.scenarios.order_log import DELAYED, OUTCOMES, PARKED, REFUND, TRACKED, PlannedOrder, card, for_sandbox, phone_number, seconds_of, step
from tests.scenarios.stack_client import StackClient, console

MINUTE = 60.05  # the orders of a minute are sent in so many seconds: a few ms of jitter must not put one too many into a window of 60 s
PROGRESS_SECONDS = 5.0


class Order(PlannedOrder):
    """One order of the shop."""

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares events and record with the vendor's truth."""
        super().check(truth, record)
        kinds = self.kinds()
        expected = {TRACKED, DELAYED, *OUTCOMES, *(PARKED[moment["status"]] for moment in truth["timeline"] if moment["status"] in PARKED)}
        if len(set(kinds)) < len(kinds) or not expected.issuperset(kinds):
            self.problems.append(f"events were {', '.join(kinds)}")
        if self.lacks_card():
            self.problems.append("fulfilled without a card")


def make_orders(count: int, per_minute: float, rng: random.Random) -> list[Order]:
    """Orders with their timelines, evenly sent."""
    def within(shortest: float, longest: float) -> float:
        return float(shortest * (longest / shortest) ** rng.random())

    orders = []
    for index in range(count):
        order_id, product = f"{rng.getrandbits(96):024x}", "mobile" if index % 5 in (0, 2, 4) else "internet"
        is_mobile = product == "mobile"
        if is_mobile:
            handling = within(2, 15)
            timeline, ends = [step(0, "PENDING"), step(handling, "HANDLING")], handling + within(3, 8)
        else:
            timeline, ends = [step(0, "HANDLING")], within(3, 45)
        number = phone_number(product, rng)
        kind = rng.choices(("FULFILLED", "REFUNDED", "UNKNOWN_ERROR" if is_mobile else "QUEUED"), (92, 5, 3))[0]
        if kind in PARKED:
            timeline.append(step(ends, kind))
            kind, ends = rng.choice(("FULFILLED", "REFUNDED")), ends + rng.uniform(20, 40)
        timeline.append(step(ends, kind, REFUND if kind == "REFUNDED" else {} if is_mobile else card(rng)))
        direct = for_sandbox(product, order_id, number, f"load-{index}-{order_id[:6]}", timeline)
        orders.append(Order(f"order {index}", product, id=order_id, at=index * MINUTE / per_minute, direct=direct))
    return orders


class Shop(StackClient):
    """The shop of one run on one stack."""

    orders: Sequence[Order]

    def place(self, order: Order) -> None:
        """Sends one order, and has it tracked."""
        self.vendor("POST", f"/{order.product}/send", {}, accepted=range(400, 401))  # counts on the key and creates nothing
        self.sandbox("/orders", order.direct)
        self.by_key[order.key()] = order
        self.tracker("PUT", f"/orders/{order.key()}", {"ref": order.direct["ref"]})

    def calls(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """All calls to the vendor, and the figures that are 0 in a good run."""
        calls = self.sandbox("/calls")["calls"]
        return calls, {"429s": sum(call["http"] == 429 for call in calls), "dead letters": len(self.dead_letters())}

    def notices(self, is_wanted: Callable[[float], bool] = lambda change: True) -> dict[str, list[float]]:
        """Notices, for the changes at the times that are wanted: `in_flight` (also by product, and `dated`: by the event's own time), of outcomes after
        parking (`parked`), and the age of the changes without an event (`unreceived`)."""
        truth = self.vendor_orders()
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

    def hold(self, figures: Mapping[str, Any], gates: Mapping[str, float], names: Iterable[str]) -> str:
        """Holds the figures against the gates (the most that is allowed); returns the named figures in one line."""
        for name, most in {"429s": 0, "dead letters": 0, **gates}.items():
            if figures[name] > most:
                self.wrong["gates missed"].add(f"{name}: {text_of(figures[name])}, the gate is {most:g}")
        return "; ".join(f"{name.strip()} {text_of(figures[name])}" for name in names)


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


def show(title: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints figures by name, with a column for each run."""
    table = Table(title=title, title_justify="left")
    for head in ("", *columns):
        table.add_column(head, justify="right" if head else "left")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(name, *(text_of(column.get(name, "–")) for column in columns.values()))
    console.print(table, soft_wrap=False)
