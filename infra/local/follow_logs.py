"""Copies the functions' log groups of a local stack to files, one file per function, until TERM."""

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.local_stack import local_cloud

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
        new = []
        for page in self.pages.paginate(logGroupName=self.name, startTime=since):
            for event in page["events"]:
                line = (event["timestamp"], event["logStreamName"], event["message"])
                found[line] += 1
                if found[line] > self.copied[line]:
                    new.append(f"{event['message'].rstrip()}\n")
        with self.file.open("a") as file:
            file.writelines(new)
        self.copied = found


def main() -> None:
    """The command line, used by `make up`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="address of the local AWS")
    parser.add_argument("--into", type=Path, required=True, help="folder of the files")
    parser.add_argument("groups", nargs="+", metavar="FILE=GROUP")
    options = parser.parse_args()

    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    client = local_cloud(options.endpoint).client("logs")
    groups = [Group(client, group, options.into / f"{file}.log") for file, _, group in (pair.partition("=") for pair in options.groups)]
    answered = time.monotonic()
    while True:
        last_round = ending.is_set()
        try:
            for group in groups:
                group.copy()
            answered = time.monotonic()
        except (BotoCoreError, ClientError) as error:
            if last_round or time.monotonic() - answered > GIVE_UP_SECONDS:
                sys.exit(f"cannot read the log groups: {error}")
        if last_round:
            return
        ending.wait(1.0)


if __name__ == "__main__":
    main()
