"""A local stack from its user's side: the vendor, the tracker's API and the event bus; the search for secrets; how a scenario starts and ends."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.local import settings, stack, tools
from infra.local.local_stack import Stack, local_cloud
from infra.local.processes import Failure
from tests.scenarios.event_schemas import validate

DEAD_LETTERS = ("POLLER_DEAD_LETTERS", "RULE_DEAD_LETTERS", "RECHECK_FAILURES")


class StackClient:
    """The addresses of one stack, and the events received from it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.cloud = local_cloud(env["AWS_ENDPOINT_URL"])
        self.events, self.sqs, self.dynamodb, self.functions = map(self.cloud.client, ("events", "sqs", "dynamodb", "lambda"))
        self.received: queue.Queue[tuple[dict[str, Any], float]] = queue.Queue()
        self.everything: list[str] = []  # each event as text, for the search for secrets
        self.invalid: set[str] = set()  # what is wrong with events, by events/schemas
        self.over = threading.Event()
        self.listener_error = ""

    def http(self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One HTTP call with JSON in and out. Not repeated, on a connection of its own: functions and servers are killed in between."""
        try:
            answer = urllib3.request(method, url, json=body, headers={**headers, "connection": "close"}, timeout=30, retries=False)
            if answer.status >= 400:
                raise Failure(f"{method} {url} answered {answer.status}: {answer.data[:300].decode(errors='replace')}")
            found: dict[str, Any] = answer.json() if answer.data else {}
            return found
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Failure(f"{method} {url}: {error}") from None

    def vendor(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A call to the vendor with the merchant's key; returns `data` of the answer."""
        return self.http(method, f"{self.env['ONECLICKDZ_BASE_URL']}{path}", {"X-Access-Token": self.env["ONECLICKDZ_API_KEY"]}, body)["data"]

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
        self.functions.invoke(FunctionName=self.env["RECHECK_FUNCTION"], InvocationType="Event", Payload=b"{}")

    def listen(self) -> None:
        """Receives every event on the bus, until `over` is set."""
        url = self.env["EVENTS_QUEUE_URL"]
        try:
            while not self.over.is_set():
                answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["SentTimestamp"])
                messages = answer.get("Messages", [])
                for message in messages:
                    event = json.loads(message["Body"])
                    self.everything.append(json.dumps(event, ensure_ascii=False))
                    self.invalid |= set(validate(event))
                    self.received.put((event, int(message["Attributes"]["SentTimestamp"]) / 1000))
                if messages:
                    self.sqs.delete_message_batch(QueueUrl=url, Entries=[
                        {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)])
        except (BotoCoreError, ClientError, ValueError, KeyError) as error:
            self.listener_error = f"the events could not be read: {error}"

    def dead_letters(self) -> dict[str, int]:
        """The number of messages in each dead-letter queue that is not empty."""
        size = "ApproximateNumberOfMessages"
        counts = {name: int(self.sqs.get_queue_attributes(QueueUrl=self.env[name], AttributeNames=[size])["Attributes"][size]) for name in DEAD_LETTERS}
        return {name: count for name, count in counts.items() if count}

    def items(self, **chosen: Any) -> list[dict[str, Any]]:
        """All items of the table, or those chosen by parameters of `Scan`."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.env["ORDERS_TABLE"], ConsistentRead=True, **chosen)
        return [item for page in pages for item in page["Items"]]

    def logs(self) -> dict[str, str]:
        """All logs of the stack, by file name."""
        return {file.name: file.read_text(errors="replace") for file in sorted(Path(self.env["LOG_DIR"]).rglob("*")) if file.is_file()}

    def search_for_secrets(self, console: Console, orders: Mapping[str, Mapping[str, Any]], items: list[dict[str, Any]], **more: str) -> list[str]:
        """Searches logs, items, events and `more` for the orders' card codes, the key and the token; returns the problems. For after the stack's end,
        when the last log lines are written."""
        cards = {order["card_code"] for order in orders.values() if order.get("card_code")}
        secrets = {"card code": cards, "API key": {self.env["ONECLICKDZ_API_KEY"]}, "API token": {self.env["API_TOKEN"]}}
        stored = json.dumps(items, ensure_ascii=False, default=lambda value: bytes(value).decode("latin-1")) if items else ""
        logs = {f"log {name}": text for name, text in self.logs().items()}
        places = {**logs, "DynamoDB": stored, "events": "\n".join(self.everything), **more}
        problems = [f"a {kind} is readable in: {place}" for place, text in places.items() for kind, values in secrets.items() if contains(text, values)]
        problems += [f"the search for secrets had no text: {place}" for place in ("log status.log", "log poller.log", "log recheck.log", "DynamoDB", "events")
                     if not places.get(place)]
        problems += [] if cards else ["the search for secrets had no card code"]
        console.print(f"Searched {sum(map(len, places.values())) // 1024} KiB ({len(logs)} logs, {len(items)} DynamoDB items, {len(self.everything)} events) "
                      f"for {len(cards)} card codes, the vendor's key and the API token: {'FAILED' if problems else 'none found'}.")
        return problems


def contains(text: str, secrets: set[str]) -> bool:
    """Whether the text contains one of the secrets. Numbers, which are many, take one pass for each length, whatever stands around them."""
    numbers = {value for value in secrets if value.isdigit()}
    return any(value in text for value in secrets - numbers) or any(
        found[1] in numbers for length in {len(value) for value in numbers} for found in re.finditer(rf"(?=(\d{{{length}}}))", text))


@contextmanager
def own_stack(directory: Path, chosen: Mapping[str, str], with_build: bool) -> Iterator[Stack]:
    """A local stack for one scenario with these settings; stopped at the end, whatever happens."""
    Stack(directory).down()
    try:
        yield stack.up(directory, {**settings.without(os.environ), **chosen}, with_build)
    finally:
        Stack(directory).down()


def run_scenario(directory: Path, scenario: Callable[[Console], tuple[str, list[str]]]) -> None:
    """Runs a scenario, which returns its figures in one line and its problems. Ends the program: with status 1 if there is a problem."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a TERM stops the stack too
    console, started = Console(width=None if sys.stdout.isatty() else 150, highlight=False, markup=False, soft_wrap=True), time.monotonic()
    try:
        figures, problems = scenario(console)
    except (Failure, BotoCoreError, ClientError) as error:
        tools.fail(f"{error}\nlogs: {directory / 'logs'}")
    except KeyboardInterrupt:
        sys.exit(130)
    for problem in problems:
        console.print(f"wrong: {problem}", style="red")
    console.print(f"{'FAILED' if problems else 'Everything is as expected'}: {figures}; {time.monotonic() - started:.0f} s; "
                  f"logs: {os.path.relpath(directory / 'logs')}", style="red" if problems else "green")
    sys.exit(1 if problems else 0)
