"""Copies the functions' log groups of a local stack into files, one per function, until it is told to end."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Iterable

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.cloud import Cloud

OVERLAP_MILLISECONDS = 5_000
GIVE_UP_SECONDS = 30.0  # the local AWS is gone without anybody having said so

Identity = tuple[str, int, str, int]  # stream, time, line, and which of several equal ones


class Group:
    """One log group and the file that it goes to."""

    def __init__(self, client: Any, name: str, file: Path) -> None:
        self.client, self.name, self.file = client, name, file
        self.copied: dict[Identity, int] = {}  # of the last moments, which are read again: a line may be filed a little late

    def copy(self) -> None:
        """Appends what is new."""
        since = max(self.copied.values(), default=0) - OVERLAP_MILLISECONDS
        pages = self.client.get_paginator("filter_log_events").paginate(logGroupName=self.name, startTime=max(since, 0))
        events = identified(event for page in pages for event in page["events"])
        new = {identity: event for identity, event in events.items() if identity not in self.copied}
        if not new:
            return
        with self.file.open("a") as file:
            file.writelines(f"{event['message'].rstrip()}\n" for event in new.values())
        self.copied = {identity: at for identity, at in self.copied.items() if at >= since}
        self.copied.update({identity: event["timestamp"] for identity, event in new.items()})


def identified(events: Iterable[dict[str, Any]]) -> dict[Identity, dict[str, Any]]:
    """The events under something that tells each from all others: the local AWS gives them no id."""
    times: Counter[tuple[str, int, str]] = Counter()
    found = {}
    for event in events:
        line = (event["logStreamName"], event["timestamp"], event["message"])
        times[line] += 1
        found[(*line, times[line])] = event
    return found


def main() -> None:
    """Command line, used by `stack.py up`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--into", type=Path, required=True, help="directory of the files")
    parser.add_argument("groups", nargs="+", metavar="FILE=GROUP")
    options = parser.parse_args()

    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    client = Cloud(endpoint=options.endpoint, region=options.region, access_key_id="test", secret_access_key="test").client("logs")
    groups = [Group(client, group, options.into / f"{file}.log")
              for file, _, group in (pair.partition("=") for pair in options.groups)]
    worked = time.monotonic()
    while True:
        last_round = told_to_end.is_set()
        try:
            for group in groups:
                group.copy()
            worked = time.monotonic()
        except (BotoCoreError, ClientError) as error:
            if last_round or time.monotonic() - worked > GIVE_UP_SECONDS:
                sys.exit(f"the log groups cannot be read: {error}")
        if last_round:
            return
        told_to_end.wait(1.0)


if __name__ == "__main__":
    main()
