"""Receives the tracker's webhooks: verifies the signature, keeps the event, answers, and handles the event after the answer.

  webhook.py

Listens on http://127.0.0.1:PORT/hook. Settings: WEBHOOK_SECRET (is in .local/stack.env if `make up` had a
WEBHOOK_URL), PORT (default 8000; 0: any free port), STATE_DIR (the inbox).
Behind your web server use https. Needs `pip install -r requirements.txt`. TERM or Ctrl-C ends it.
"""

from __future__ import annotations

import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from inbox import Inbox
from standardwebhooks import Webhook, WebhookVerificationError
from tracker import fail, setting, state_folder, usage

LARGEST_BODY = 1024 * 1024  # bytes; an event on the bus has at most 256 KiB
RETRY_SECONDS = 60.0  # for an event that could not be handled


def receive(verifier: Webhook, inbox: Inbox, headers: dict[str, str], body: bytes) -> int:
    """Takes one request in; returns the status of the answer. Every other status than 2xx makes the tracker send the event again."""
    try:
        envelope = verifier.verify(body, headers)  # signature, and the age: at most 5 minutes
    except (WebhookVerificationError, ValueError) as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)
        return 401
    event = envelope.get("detail") if isinstance(envelope, dict) else None
    if not isinstance(event, dict) or not isinstance(event.get("event_id"), str):
        return 400
    event_id = event["event_id"]  # the same as the header webhook-id
    try:
        if not inbox.keep(event_id, event):
            print(f"repeated {event_id}", flush=True)
    except OSError as error:
        print(f"the inbox: {error}", file=sys.stderr, flush=True)
        return 500
    return 204


class Hook(BaseHTTPRequestHandler):
    """Answers POST /hook."""

    timeout = 10.0  # seconds for a client that sends nothing
    verifier: Webhook
    inbox: Inbox
    arrived = threading.Event()

    def do_POST(self) -> None:
        """Reads, answers, and wakes the worker."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/hook":
            status = 404
        elif not length.isdigit() or int(length) > LARGEST_BODY:
            status = 413
        else:
            status = receive(self.verifier, self.inbox, dict(self.headers), self.rfile.read(int(length)))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.arrived.set()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing for each request: the events have lines of their own."""


def work(inbox: Inbox, over: threading.Event) -> None:
    """Handles what arrives, after it was answered: handling may take long, an answer may not."""
    while not over.is_set():
        Hook.arrived.clear()
        try:
            inbox.work()
        except (OSError, ValueError) as error:  # a full disk must not end the worker
            print(f"the inbox: {error}", file=sys.stderr, flush=True)
        Hook.arrived.wait(RETRY_SECONDS)


def main(arguments: list[str]) -> None:
    """The command line."""
    usage(__doc__, arguments, not arguments)
    port = setting("PORT", "8000")
    if not port.isdigit() or int(port) > 65535:
        fail("PORT must be a number from 0 to 65535")
    try:
        Hook.verifier = Webhook(setting("WEBHOOK_SECRET"))
    except Exception:
        fail("WEBHOOK_SECRET must be `whsec_` and the secret in base64")
    Hook.inbox = Inbox(state_folder())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), Hook)
    except OSError as error:
        fail(f"PORT {port}: {error.strerror}")
    over = threading.Event()
    worker = threading.Thread(target=work, args=(Hook.inbox, over))
    worker.start()
    try:
        print(f"listening on http://127.0.0.1:{server.server_port}/hook", flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        over.set()
        Hook.arrived.set()
        worker.join()  # ends what it is handling


if __name__ == "__main__":
    main(sys.argv[1:])
