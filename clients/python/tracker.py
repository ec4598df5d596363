"""Calls of the tracker's HTTP API (docs/api.md), and what all these examples share: settings, errors, files."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 25.0  # seconds for one call: the tracker waits for the vendor up to 8 s, and for events up to 15 s


class Refused(Exception):
    """A call that failed. `status`: the HTTP status, 0 without an answer. The text is the answer's `detail`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the tracker answered {status}: {text}" if status else f"no answer from the tracker: {text}")
        self.status = status


def fail(message: str) -> NoReturn:
    """Ends the program with status 1 and this message."""
    sys.exit(f"error: {message}")


def usage(text: str | None, arguments: list[str], is_right: bool) -> None:
    """Ends the program with its usage, if the caller asks for it or if the arguments are wrong."""
    if "--help" in arguments or "-h" in arguments:
        print(text)
        sys.exit(0)
    if not is_right:
        print(text, file=sys.stderr)
        sys.exit(2)


def setting(name: str, default: str | None = None) -> str:
    """A setting from the environment. Without a value and without a default the program ends, and names the variable."""
    value = os.environ.get(name) or default
    if value is None:
        fail(f"{name} is not set. After `make up`: set -a; . .local/stack.env; set +a")
    return value


def state_folder() -> Path:
    """The folder for what must survive a restart: the setting STATE_DIR, or `state` beside this file."""
    folder = Path(setting("STATE_DIR", str(Path(__file__).parent / "state")))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(file: Path, text: str) -> None:
    """Replaces a file in one step: after a crash it has the old text or the new one."""
    new = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def call(method: str, path: str, body: dict[str, Any] | None = None, patience: float = 60.0) -> dict[str, Any]:
    """Makes a call and returns the JSON of the answer. Every call of this API can be repeated without harm. So it is repeated, for up to `patience`
    seconds, if there is no answer or if the answer asks for it. Raises `Refused` otherwise."""
    headers = {"Authorization": f"Bearer {setting('API_TOKEN')}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(setting("API_URL") + path, data, headers, method=method)
    until = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            refused, wait = Refused(error.code, detail_of(error)), wait_asked_for(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            refused, wait = Refused(0, str(error)), 2.0
        if wait is None or time.monotonic() + wait > until:
            raise refused
        time.sleep(wait)


def detail_of(error: urllib.error.HTTPError) -> str:
    """What an error answer says. API Gateway's own answers are no `problem+json`."""
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def wait_asked_for(error: urllib.error.HTTPError) -> float | None:
    """Seconds after which the call may be repeated; None if a repeat is of no use."""
    asked = error.headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked)
    return 2.0 if error.code in (429, 502, 503, 504) else None
