"""A stack as its user sees it: the vendor, the tracker's API, the bus. And the search for what must never be seen."""

from __future__ import annotations

import json
import queue
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.local_stack import local_cloud
from infra.local.processes import Failure

DEAD_LETTERS = ("POLLER_DEAD_LETTERS", "RULE_DEAD_LETTERS", "RECHECK_FAILURES")


class StackClient:
    """The addresses of one stack, and everything heard from it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        cloud = local_cloud(env["AWS_ENDPOINT_URL"])
        self.events, self.sqs, self.dynamodb = cloud.client("events"), cloud.client("sqs"), cloud.client("dynamodb")
        self.cloud = cloud
        self.heard: queue.Queue[tuple[dict[str, Any], float]] = queue.Queue()
        self.everything: list[str] = []  # each event as text, for the search at the end
        self.over = threading.Event()
        self.listener_error = ""

    # ------------------------------------------------------------------ talking

    def http(self, method: str, url: str, headers: Mapping[str, str], body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """One call with JSON in and out."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json", **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {url} answered {error.code}: {error.read(300).decode(errors='replace')}") from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise Failure(f"{method} {url}: {error}") from None

    def vendor(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """A call to the vendor, as the merchant makes it."""
        return self.http(method, f"{self.env['ONECLICKDZ_BASE_URL']}{path}", {"X-Access-Token": self.env["ONECLICKDZ_API_KEY"]}, body)["data"]

    def tracker(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """A call to the tracker's API."""
        return self.http(method, f"{self.env['API_URL']}{path}", {"authorization": f"Bearer {self.env['API_TOKEN']}"}, body)

    def sandbox(self, path: str, body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """What the sandbox knows and the vendor would not say; with a body, what it is told."""
        return self.http("GET" if body is None else "POST", f"{self.env['SANDBOX_URL']}/_sandbox{path}", {}, body)

    def say_sent(self, detail: Mapping[str, Any]) -> None:
        """Puts a `Top-up Sent` on the bus, as a shop does."""
        self.events.put_events(Entries=[{"EventBusName": self.env["EVENT_BUS"], "Source": "local.shop",
                                         "DetailType": "Top-up Sent", "Detail": json.dumps(detail)}])

    # ------------------------------------------------------------------ hearing

    def listen(self) -> None:
        """Takes events from the queue that hears everything, until it is over."""
        url = self.env["EVENTS_QUEUE_URL"]
        try:
            while not self.over.is_set():
                answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["SentTimestamp"])
                messages = answer.get("Messages", [])
                for message in messages:
                    event = json.loads(message["Body"])
                    self.everything.append(json.dumps(event, ensure_ascii=False))
                    self.heard.put((event, int(message["Attributes"]["SentTimestamp"]) / 1000))
                if messages:
                    self.sqs.delete_message_batch(QueueUrl=url, Entries=[
                        {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)])
        except (BotoCoreError, ClientError, ValueError, KeyError) as error:
            self.listener_error = f"the events could not be read: {error}"

    # ------------------------------------------------------------------ looking behind the scenes

    def dead_letters(self) -> dict[str, int]:
        """How many messages are in the queues of what could not be delivered or polled; empty queues are left out."""
        counts = {name: self.sqs.get_queue_attributes(QueueUrl=self.env[name], AttributeNames=["ApproximateNumberOfMessages"])
                  for name in DEAD_LETTERS}
        found = {name: int(count["Attributes"]["ApproximateNumberOfMessages"]) for name, count in counts.items()}
        return {name: count for name, count in found.items() if count}

    def items(self, **chosen: Any) -> list[dict[str, Any]]:
        """Every item of the table, or those that are chosen as in `Scan`."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.env["ORDERS_TABLE"], ConsistentRead=True, **chosen)
        return [item for page in pages for item in page["Items"]]

    def logs(self) -> dict[str, str]:
        """All logs of the stack, by file."""
        return {file.name: file.read_text(errors="replace") for file in sorted(Path(self.env["LOG_DIR"]).rglob("*")) if file.is_file()}


def as_text(items: Iterable[Mapping[str, Any]]) -> str:
    """Items as text, to be searched."""
    return "\n".join(json.dumps(item, ensure_ascii=False, default=lambda value: bytes(value).decode("latin-1")) for item in items)


def leaks(secrets: Mapping[str, set[str]], places: Mapping[str, str]) -> list[str]:
    """Looks for every secret in every place; says what was found where, without repeating it."""
    return [f"a {kind} in clear in {place}" for place, text in places.items() for kind, values in secrets.items()
            if any(value in text for value in values if not value.isdigit()) or numbers_in(text, {value for value in values if value.isdigit()})]


def numbers_in(text: str, numbers: set[str]) -> set[str]:
    """Which of these numbers stand in the text, also within longer ones. One pass, however many they are."""
    found: set[str] = set()
    for length in {len(number) for number in numbers}:
        for run in re.findall(rf"\d{{{length},}}", text):
            found.update(run[start:start + length] for start in range(len(run) - length + 1) if run[start:start + length] in numbers)
    return found
