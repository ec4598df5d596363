"""Reads the tracker's events from its feed: for a shop without a public address.

  feed.py              reads on and on; each call waits up to 15 s for an event
  feed.py --once       reads what is new, then ends: for cron
  … --oldest           without a kept cursor, begins with the oldest event instead of now

Settings: API_URL, API_TOKEN (scope `orders`), STATE_DIR (the cursor and the inbox). TERM or Ctrl-C ends it.
"""

from __future__ import annotations

import signal
import sys
import time
from urllib.parse import urlencode

from inbox import Inbox
from tracker import Refused, call, fail, save, state_folder, usage

WAIT = 15  # seconds that a call waits for an event
PATIENCE = 600.0  # seconds without a good answer, after which the program ends with an error


def main(arguments: list[str]) -> None:
    """The command line."""
    usage(__doc__, arguments, set(arguments) <= {"--once", "--oldest"})
    once = "--once" in arguments
    folder = state_folder()
    inbox, cursor_file = Inbox(folder), folder / "cursor"
    cursor = cursor_file.read_text(encoding="utf-8") if cursor_file.exists() else "" if "--oldest" in arguments else "latest"
    while True:
        query = {"limit": 100, "wait": 0 if once else WAIT, **({"after": cursor} if cursor else {})}
        try:
            page = call("GET", f"/events?{urlencode(query)}", patience=PATIENCE)
        except Refused as refused:
            fail(str(refused))
        for event in page["events"]:
            if not inbox.keep(event["event_id"], event):
                print(f"repeated {event['event_id']}", flush=True)
        inbox.work()
        is_end, cursor = page["next"] == cursor, page["next"]
        save(cursor_file, cursor)  # only now: after a crash the same page is read again
        if is_end:  # nothing more now
            if once:
                return
            time.sleep(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
