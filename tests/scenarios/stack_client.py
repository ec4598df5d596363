"""A local stack from its user's side: the vendor, the tracker's API and the event bus; orders that are sent at their times; the search for secrets;
how a scenario starts and ends."""

import argparse
import json
import os
import random
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console

from infra.local import settings, stack
from infra.local.cloud import errors_shown
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack, local_cloud
from infra.local.processes import Failure
from tests.scenarios.event_schemas import SCHEMAS, validate
from tests.scenarios.order_log import OrderLog, PlannedOrder

DEAD_LETTERS = ("POLLER_DEAD_LETTERS", "RULE_DEAD_LETTERS", "RECHECK_FAILURES", "WEBHOOK_DEAD_LETTERS")  # the last one only with webhooks
SENDERS = 12  # threads; under load a send with its two or three calls takes about a second
STARTED = time.monotonic()

console = Console(width=None if sys.stdout.isatty() else 150, highlight=False, markup=False, soft_wrap=True)


class StackClient:
    """The addresses of one stack, the orders that are sent through it, and the events received from it."""

    def __init__(self, env: Mapping[str, str], orders: Sequence[PlannedOrder] = ()) -> None:
        self.env, self.orders, self.schemas = env, orders, SCHEMAS
        self.cloud = local_cloud(env["AWS_ENDPOINT_URL"])
        self.events, self.sqs, self.dynamodb, self.functions = map(self.cloud.client, ("events", "sqs", "dynamodb", "lambda"))
        self.everything: list[str] = []  # each event as text, for the search for secrets
        self.closed = threading.Event()  # nothing is sent any more
        self.by_key: dict[str, OrderLog] = {}  # the orders that were sent
        self.bus: Counter[str] = Counter()  # events received, by kind
        self.wrong: dict[str, set[str]] = defaultdict(set)  # what fails the run, with examples

    def http(self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None, accepted: range = range(400)) -> dict[str, Any]:
        """One HTTP call with JSON in and out. Fails for any other status than those that are accepted. Not repeated, on a connection of its own: functions
        and servers are killed in between."""
        try:
            answer = urllib3.request(method, url, json=body, headers={**headers, "connection": "close"}, timeout=30, retries=False)
            if answer.status not in accepted:
                raise Failure(f"{method} {url} answered {answer.status}: {answer.data[:300].decode(errors='replace')}")
            found: dict[str, Any] = answer.json() if answer.data else {}
            return found
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Failure(f"{method} {url}: {error}") from None

    def vendor(self, method: str, path: str, body: Mapping[str, Any] | None = None, accepted: range = range(400)) -> Any:
        """A call to the vendor with the merchant's key; returns `data` of the answer."""
        return self.http(method, f"{self.env['ONECLICKDZ_BASE_URL']}{path}", {"X-Access-Token": self.env["ONECLICKDZ_API_KEY"]}, body, accepted).get("data")

    def tracker(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call to the tracker's API."""
        return self.http(method, f"{self.env['API_URL']}{path}", {"authorization": f"Bearer {self.env['API_TOKEN']}"}, body)

    def sandbox(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call to the sandbox's control API: GET without a body, POST with one."""
        return self.http("GET" if body is None else "POST", f"{self.env['SANDBOX_URL']}/_sandbox{path}", {}, body)

    def send(self, service: str, number: str, ref: str) -> str:
        """Sends an order (`mobile`, `ADSL` or `4G`) to the vendor; returns its id."""
        product, body = ("mobile", {"plan_code": "PREPAID_DJEZZY", "MSSIDN": number, "amount": 500}) if service == "mobile" else (
            "internet", {"type": service, "number": number, "value": 1000})
        return str(self.vendor("POST", f"/{product}/send", {**body, "ref": ref})["topupId"])

    def vendor_orders(self) -> dict[str, dict[str, Any]]:
        """All orders as the sandbox knows them, by id: timeline, final status, card code."""
        return {order["id"]: order for order in self.sandbox("/orders")["orders"]}

    def publish_sent(self, detail: Mapping[str, Any]) -> None:
        """Puts a `Top-up Sent` event on the bus."""
        self.events.put_events(Entries=[{"EventBusName": self.env["EVENT_BUS"], "Source": "local.shop",
                                         "DetailType": "Top-up Sent", "Detail": json.dumps(detail)}])

    def start_recheck(self) -> None:
        """Starts a recheck beside the scheduled ones, which run every minute."""
        self.functions.invoke(FunctionName=f'{self.env["RECHECK_FUNCTION"]}:live', InvocationType="Event", Payload=b"{}")

    def receive(self, seconds: int) -> bool:
        """Takes in the events that have come to the queue of every event; waits up to so many seconds for the first. Returns whether there was one."""
        count, queue = self.bus.total(), self.env["EVENTS_QUEUE_URL"]
        while messages := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=seconds,
                                                   AttributeNames=["SentTimestamp"]).get("Messages"):
            for message in messages:
                event, received_at = json.loads(message["Body"]), int(message["Attributes"]["SentTimestamp"]) / 1000
                self.everything.append(json.dumps(event, ensure_ascii=False))
                self.wrong["events that are not as their schema says"] |= set(validate(event, self.schemas))
                kind, detail = event["detail-type"], event["detail"]
                key = str(detail.get("event_id", "")).partition("#")[0]
                self.bus[kind] += 1
                if key not in self.by_key:
                    self.receive_other(kind, key, detail)
                elif self.by_key[key].receive(kind, detail, received_at):
                    self.receive_new(self.by_key[key], kind)
            self.sqs.delete_message_batch(QueueUrl=queue, Entries=[
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)])
            seconds = 0
        return self.bus.total() > count

    def receive_new(self, order: OrderLog, kind: str) -> None:
        """What a scenario does about the first delivery of an event of its orders."""

    def receive_other(self, kind: str, key: str, detail: Mapping[str, Any]) -> None:
        """Takes in an event that is about no order that was sent."""
        if kind != "Top-up Sent" and not key.startswith("vendor/"):
            self.wrong["events about unknown orders"].add(f"{kind} {key}: {json.dumps(detail, ensure_ascii=False)}")

    @contextmanager
    def selling(self, began: float) -> Iterator[list[Future[None]]]:
        """Sends each order at its time, within the block."""
        with ThreadPoolExecutor(SENDERS) as sellers:
            sales = [sellers.submit(self.sell, order, began) for order in self.orders]
            try:
                yield sales
            finally:
                self.closed.set()
                sellers.shutdown(wait=False, cancel_futures=True)
        for sale, order in zip(sales, self.orders, strict=True):
            if not sale.cancelled() and sale.exception() is not None:
                self.wrong["orders that could not be sent"].add(f"{order.name}: {sale.exception()}")

    def sell(self, order: PlannedOrder, began: float) -> None:
        """Sends one order when its time has come, and has it tracked."""
        if not self.closed.wait(max(began + order.at - time.monotonic(), 0)):
            order.late = time.monotonic() - began - order.at
            self.place(order)
            order.is_sold = True

    def place(self, order: Any) -> None:
        """Sends an order and makes it known to the tracker."""
        raise NotImplementedError

    def check_orders(self, truth: Mapping[str, Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]]) -> None:
        """Checks that all orders were sent, and compares each with the sandbox's timeline."""
        self.wrong["orders that were not sent"] |= {order.name for order in self.orders if not order.is_sold}
        for key, order in self.by_key.items():
            order.check(truth[order.id], records.get(key, {}))
            self.wrong["orders that did not end as expected"] |= {f"{order.name}: {key}: {problem}" for problem in order.problems}

    def dead_letters(self) -> list[str]:
        """The bodies of all dead letters."""
        bodies: list[str] = []
        for url in (self.env[name] for name in DEAD_LETTERS if name in self.env):
            while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
                bodies += [message["Body"] for message in messages]
        return bodies

    def items(self, **chosen: Any) -> list[dict[str, Any]]:
        """All items of the table, or those chosen by parameters of `Scan`."""
        return list(self.dynamodb.get_paginator("scan").paginate(TableName=self.env["ORDERS_TABLE"], ConsistentRead=True, **chosen).search("Items"))

    def records(self, **chosen: Any) -> dict[str, dict[str, Any]]:
        """The items of the orders, by key."""
        items = self.items(FilterExpression="sk = :order", ExpressionAttributeValues={":order": {"S": "ORDER"}}, **chosen)
        return {item["pk"]["S"].replace("#", "/"): item for item in items}

    def logs(self) -> dict[str, str]:
        """All logs of the stack, by file name."""
        return {file.name: file.read_text(errors="replace") for file in sorted(Path(self.env["LOG_DIR"]).rglob("*")) if file.is_file()}

    def search_for_secrets(self, orders: Mapping[str, Mapping[str, Any]], items: list[dict[str, Any]], **more: str) -> None:
        """Searches logs, items, events and `more` for the orders' card codes, the key and the token. For after the stack's end, when the last log lines
        are written."""
        cards = {order["card_code"] for order in orders.values() if order.get("card_code")}
        secrets = {"card code": cards, "API key": {self.env["ONECLICKDZ_API_KEY"]}, "API token": {self.env["API_TOKEN"]}}
        if webhook_secret := self.env.get("WEBHOOK_SECRET", "").removeprefix("whsec_"):
            secrets["secret of the webhooks"] = {webhook_secret}
        stored = json.dumps(items, ensure_ascii=False, default=lambda value: bytes(value).decode("latin-1")) if items else ""
        logs = {f"log {name}": text for name, text in self.logs().items()}
        places = {**logs, "DynamoDB": stored, "events": "\n".join(self.everything), **more}
        found = {f"a {kind} is readable in: {place}" for place, text in places.items() for kind, values in secrets.items() if contains(text, values)}
        found |= {f"no text of: {place}" for place in ("log status.log", "log poller.log", "log recheck.log", "DynamoDB", "events") if not places.get(place)}
        found |= set() if cards else {"no card code to search for"}
        self.wrong["problems of the search for secrets"] |= found
        console.print(f"Searched {sum(map(len, places.values())) // 1024} KiB ({len(logs)} logs, {len(items)} DynamoDB items, {len(self.everything)} events) "
                      f"for {len(cards)} card codes, the vendor's key and the API token: {'FAILED' if found else 'none found'}.")

    def conclude(self, figures: str) -> bool:
        """Prints what is wrong, and the figures in one line; returns whether all is as expected."""
        wrong = {what: sorted(examples) for what, examples in self.wrong.items() if examples}
        for what, examples in wrong.items():
            console.print(f"wrong: {what}: {len(examples)}, such as\n  " + "\n  ".join(examples[:5]), style="red")
        console.print(f"{'FAILED' if wrong else 'Everything is as expected'}: {figures}; {time.monotonic() - STARTED:.0f} s; "
                      f"logs: {os.path.relpath(self.env['LOG_DIR'])}", style="red" if wrong else "green")
        return not wrong


def contains(text: str, secrets: set[str]) -> bool:
    """Whether the text contains one of the secrets. Numbers, which are many, take one pass for each length, whatever stands around them."""
    numbers = {value for value in secrets if value.isdigit()}
    return any(value in text for value in secrets - numbers) or any(
        found[1] in numbers for length in {len(value) for value in numbers} for found in re.finditer(rf"(?=(\d{{{length}}}))", text))


@contextmanager
def own_stack(name: str, chosen: Mapping[str, str], with_build: bool, aws_environment: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A local stack for one scenario with these settings; stopped at the end, whatever happens. A failure ends the program with a message."""
    own = Stack(DEFAULT_DIRECTORY / name)
    with errors_shown(own.logs):
        own.down()
        try:
            yield stack.up(own.directory, {**settings.without(os.environ), **chosen}, with_build, aws_environment)
        finally:
            own.down()


def command_line(about: str | None) -> argparse.ArgumentParser:
    """A command line with the options of the scenarios that choose at random."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all random choices (default: a random one)")
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    return parser
