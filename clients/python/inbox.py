"""Keeps each event once, and handles each event once, also if it comes twice or the program is killed in between.

Here an event is a file, and its id is the file's name. In a shop it is a row of a table:

    CREATE TABLE tracker_events (event_id VARCHAR(120) PRIMARY KEY, body TEXT NOT NULL, handled_at DATETIME NULL)

`keep` is then an INSERT that ignores a known key, and `work` handles the rows without `handled_at`.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from handlers import handle


class Inbox:
    """The events of one shop, in a folder: `new` (to be handled), `done` (an empty file for each), `newest` (the highest `seq` of each order)."""

    def __init__(self, folder: Path) -> None:
        self.new, self.done, self.newest = (folder / name for name in ("new", "done", "newest"))
        for part in (self.new, self.done, self.newest):
            part.mkdir(parents=True, exist_ok=True)

    def keep(self, event_id: str, event: dict[str, Any]) -> bool:
        """Stores an event; returns False if it is known. Once this has returned, the event is not lost."""
        name = quote(event_id, safe="")
        if (self.done / name).exists():
            return False
        complete = self.new / f".{uuid.uuid4()}"
        complete.write_text(json.dumps(event), encoding="utf-8")
        try:
            os.link(complete, self.new / name)  # fails if the name exists: the unique key
        except FileExistsError:
            return False
        finally:
            complete.unlink()
        return True

    def work(self) -> bool:
        """Handles what is to be handled, the oldest event first; returns whether all of it succeeded. What failed stays, for the next call."""
        with (self.new / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process at a time
            events = [json.loads(file.read_text(encoding="utf-8")) for file in self.new.iterdir() if not file.name.startswith(".")]
            events.sort(key=lambda event: (event["occurred_at"], event["seq"]))
            results = [self._handle(event) for event in events]
            return all(results)

    def _handle(self, event: dict[str, Any]) -> bool:
        event_id, seq = event["event_id"], event["seq"]
        name = quote(event_id, safe="")
        newest = self.newest / quote(event_id.rpartition("#")[0], safe="")
        last = int(newest.read_text()) if newest.exists() else 0
        if not (self.done / name).exists():
            try:
                line = " ".join(handle(event, is_late=seq < last).splitlines())
            except Exception as error:  # one event must not stop the others
                print(f"failed {event_id} {event['detail_type']}: {error!r}; it stays in the inbox", flush=True)
                return False
            print(f"handled {event_id} {event['detail_type']}: {line}", flush=True)
            newest.write_text(str(max(last, seq)))
            (self.done / name).touch()
        (self.new / name).unlink()
        return True
