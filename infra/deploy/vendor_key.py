"""The vendor's key: asks for it without showing it, and says what the vendor says about it. Neither the key nor the vendor's answer is printed."""

import getpass
import ipaddress
import json
import re
import sys
from pathlib import Path
from typing import Any

import urllib3

from infra.local.processes import Failure

TIMEOUT_SECONDS = 15.0
CODE = re.compile(r"[A-Z_-]{1,40}")  # of an error of the vendor's
WORD = re.compile(r"[A-Z_-]{1,24}")  # a type or a scope


def read(file: str) -> str:
    """The vendor's key: in this file (`-`: standard input); without one it is asked for, which needs a terminal. Fails if there is none."""
    if file and file != "-":
        try:
            key = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"the vendor's key cannot be read: {error}") from None
    elif file or not sys.stdin.isatty():
        key = sys.stdin.readline().strip()
    else:
        key = getpass.getpass("The vendor's key (it is not shown): ").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        if key:
            raise Failure("the vendor's key has a space, a line break or another character that no key has: is it the key alone?")
        raise Failure("no vendor's key: it is asked for on a terminal, or give KEY_FILE=FILE, or KEY_FILE=- and the key on standard input")
    return key


def report(base_url: str, key: str) -> list[str]:
    """What the vendor's `/validate` says about the key, one line for each fact. Fails if the vendor refuses the key. One request and no second one: the
    vendor blocks an address after some refusals. If the vendor cannot be reached, the line says so."""
    try:
        answer = urllib3.request("GET", f"{base_url.rstrip('/')}/validate", headers={"X-Access-Token": key}, timeout=TIMEOUT_SECONDS, retries=False)
        body = json.loads(answer.data)
    except (urllib3.exceptions.HTTPError, ValueError):
        return ["the vendor gave no answer that can be read: the key is not checked"]
    body = body if isinstance(body, dict) else {}
    if answer.status in (401, 403):
        error = body.get("error")
        code = str(error.get("code")) if isinstance(error, dict) else ""
        raise Failure(f"the vendor refuses the key: {code if CODE.fullmatch(code) else f'status {answer.status}'}. Do not try a wrong key again and again: "
                      "the vendor blocks the address")
    data = body.get("data")
    about = data.get("apiKey") if isinstance(data, dict) else None
    if answer.status != 200 or body.get("success") is not True or not isinstance(about, dict):
        return [f"the vendor answered with status {answer.status} and nothing about the key: it is not checked"]
    if about.get("isEnabled") is False:
        raise Failure("the vendor says that the key is disabled")
    return [_kind(about.get("type")), _scope(about.get("scope")), _addresses(about.get("allowedips"))]


def _word(value: Any) -> str:
    """A word of the vendor's that can be shown; anything else could be the key."""
    return value if isinstance(value, str) and WORD.fullmatch(value) else "a value that is not shown"


def _kind(kind: Any) -> str:
    if kind is None:
        return "type: the vendor does not say whether the key is for its sandbox or for production"
    what = {"SANDBOX": ", so no order is a real one", "PRODUCTION": ", so orders are real"}.get(kind, "") if isinstance(kind, str) else ""
    return f"type: {_word(kind)}{what}"


def _scope(scope: Any) -> str:
    if scope is None:
        return "scope: the vendor does not say"
    return f"scope: {_word(scope)}{'' if scope == 'READ-ONLY' else '; the tracker only reads: prefer READ-ONLY'}"


def _addresses(addresses: Any) -> str:
    """An address is shown if it is one, or a network."""
    if not isinstance(addresses, list):
        return "addresses: the vendor does not say"
    if not addresses:
        return "addresses: any"
    shown = []
    for address in addresses:
        try:
            shown.append(str(ipaddress.ip_network(str(address), strict=False)).removesuffix("/32").removesuffix("/128"))
        except ValueError:
            shown.append("one that is not shown")
    return f"addresses: only {', '.join(shown)}; the functions need a fixed one of these (docs/operations.md)"
