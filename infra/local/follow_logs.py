"""Copies the functions' log groups of a local stack to files, one file per function."""

import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.cloud import FUNCTIONS
from infra.local.local_stack import Stack, local_cloud

OVERLAP_MILLISECONDS = 5_000  # read again each time, because a line can be filed late
GIVE_UP_SECONDS = 30.0  # without an answer of the local AWS


class Group:
    """One log group and its file."""

    def __init__(self, client: Any, name: str, file: Path) -> None:
        self.pages, self.name, self.file = client.get_paginator("filter_log_events"), name, file
        self.copied: Counter[tuple[int, str, str]] = Counter()  # time, stream and text of the recent lines in the file

    def copy(self) -> None:
        """Appends the new lines to the file. The local AWS gives equal lines equal ids, so equal lines are counted."""
        since = max(max(self.copied, default=(0,))[0] - OVERLAP_MILLISECONDS, 0)
        found: Counter[tuple[int, str, str]] = Counter()
        events = list(self.pages.paginate(logGroupName=self.name, startTime=since).search("events"))
        with self.file.open("a") as file:
            for event in events:
                line = (event["timestamp"], event["logStreamName"], event["message"])
                found[line] += 1
                if found[line] > self.copied[line]:
                    file.write(f"{event['message'].rstrip()}\n")
        self.copied = found


def follow(stack: Stack) -> None:
    """Copies new lines every second until TERM, and once more then. Ends with an error if the local AWS does not answer any more."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    known = stack.read_env()
    client = local_cloud(known["AWS_ENDPOINT_URL"]).client("logs")
    groups = [Group(client, known[f"{function.upper()}_LOGS"], stack.logs / f"{function}.log") for function in FUNCTIONS]
    answered, is_ending = time.monotonic(), False
    while not is_ending:
        is_ending = ending.wait(1.0)
        try:
            for group in groups:
                group.copy()
            answered = time.monotonic()
        except (BotoCoreError, ClientError):
            if is_ending or time.monotonic() - answered > GIVE_UP_SECONDS:
                raise
