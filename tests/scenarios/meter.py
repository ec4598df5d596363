"""Stands between the functions and the local AWS's DynamoDB, passes everything on unchanged, and counts what AWS would charge for.

The functions go where AWS_ENDPOINT_URL_DYNAMODB says, and the local AWS hands them its own environment: `load.py` starts the meter on a
port, then the local AWS with that address in its environment. The head of each request goes on as it came (the signature covers its host).
The meter finds the local AWS by the stack's stack.env, which is written before any function is needed. What AWS charges for is reckoned
after the answer has been passed on, in the order in which the answers came.

Exact: how many requests there are, of which operation, about what (order, event, admission), whether their condition held; and the
items, since every item is seen from its first write on, our update expressions are few and simple (`SET` of values, of sums, of
`if_not_exists` and `list_append`; `REMOVE`; `ADD` to numbers and sets). How often an answer showed an item otherwise is among the figures (`overtaken`: the
answer to a read may come after that of a write that was carried out later), as is what was not understood (`not_understood`, to be nothing). GET /_meter/sizes tells the
size of each item as the model has it; `load.py` compares it with the table.

Reckoned, by AWS's page "DynamoDB item sizes and formats" and what AWS says of capacity units:
- Sizes: names and texts by their bytes; a number takes half its significant digits, rounded up, and 1 (AWS: "approximately"; another 1 below 0);
  lists and maps 3, and 1 for each element; sets the sum of their elements.
- A write takes 1 unit for each started KB of the item before or after it, whichever is larger; the same if its condition does not hold; twice
  that in a transaction, also in one that is cancelled.
- An index takes a write of its own, of the size of its entry, when an item enters or leaves it or something that it shows changes, and two when its
  key changes (one to take the old entry out, one to put the new one in). We take it that this is not doubled for a transaction: AWS does not
  say so of indexes, which follow later and by themselves.
- A read takes 1 unit for each started 4 KB, half of that if it need not be consistent; of a query all that it reads together (an index is never
  consistent), of a batch each item for itself; 1 or a half at least, also if there is nothing.
- Conflicts (`TransactionConflict`) never come from the local AWS. Nor does throttling; what fails in any other way than by its condition costs nothing.

Ended by TERM; then the figures are in the file that --into names, as they are at GET /_meter at any time:
`{"kinds": {"UpdateItem order": {"count", "write_units", "read_units"}, …}, "overtaken", "not_understood", "requests", "added_milliseconds"}`.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import queue
import re
import shlex
import signal
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterable, Mapping, Optional

import yaml

from infra.local import tools

Value = dict[str, Any]  # an attribute value as it is on the wire: {"S": "…"}
Item = dict[str, Value]
Key = tuple[str, str, str]  # table, pk, sk

TEMPLATE = tools.ROOT / "infra" / "template.yaml"
KEY_NAMES = ("pk", "sk")
KB = 1024
REFUSED = ("ConditionalCheckFailedException", "TransactionCanceledException")
STACK_ENV_SECONDS = 30.0  # how long it is waited for: the schedule may call a function before it is there
SWITCH_SECONDS = 0.0002  # so that reckoning never holds up what passes by


# ---------------------------------------------------------------------- sizes


def size_of_number(text: str) -> int:
    """Bytes of a number: zeros at both ends do not count."""
    number = Decimal(text)
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    return math.ceil(len(digits) / 2) + 1 + (number < 0)


def size_of_value(value: Value) -> int:
    """Bytes of a value."""
    (kind, content), = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return size_of_number(content)
    if kind == "B":
        return len(base64.b64decode(content)) if isinstance(content, str) else len(content)
    if kind == "L":
        return 3 + sum(1 + size_of_value(element) for element in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + size_of_value(element) for name, element in content.items())
    if kind in ("SS", "NS", "BS"):
        return sum(size_of_value({kind[0]: element}) for element in content)
    return 1  # BOOL, NULL


def size_of(item: Mapping[str, Value]) -> int:
    """Bytes of an item."""
    return sum(len(name.encode()) + size_of_value(value) for name, value in item.items())


def started(size: int, unit: int) -> int:
    """How many units of that size are started, at least one."""
    return max(1, math.ceil(size / unit))


def kind_of(partition: str, sort: str) -> str:
    """What an item is, by its key."""
    if partition.startswith("ADMISSION#"):
        return "admission"
    if sort.startswith("EVENT#"):
        return "event"
    return "order" if sort == "ORDER" else "other"


# ---------------------------------------------------------------------- update expressions


class NotUnderstood(Exception):
    """An expression that is none of ours."""


TOKEN = re.compile(r"\s*([#:]?[A-Za-z_][A-Za-z0-9_]*|[(),=+\-])")
CLAUSES = ("SET", "REMOVE", "ADD", "DELETE")


class Update:
    """An update expression, and what it makes of an item."""

    def __init__(self, expression: str, names: Mapping[str, str], values: Mapping[str, Value]) -> None:
        self.expression, self.names, self.values = expression, names, values
        self.words = TOKEN.findall(expression)
        if "".join(self.words) != re.sub(r"\s+", "", expression):
            raise NotUnderstood(expression)
        self.at = 0

    def apply(self, before: Item) -> Item:
        """The item after it. Whatever is read is read from the item before it."""
        after, self.at = dict(before), 0
        clause = ""
        while self.at < len(self.words):
            if self.peek().upper() in CLAUSES:
                clause = self.take().upper()
            elif self.peek() == ",":
                self.take()
            name = self.name()
            if clause == "SET":
                self.expect("=")
                after[name] = self.sum(before)
            elif clause == "REMOVE":
                after.pop(name, None)
            elif clause == "ADD":
                after[name] = added(before.get(name), self.values[self.take()])
            elif clause == "DELETE":
                taken = self.values[self.take()]
                (kind, elements), = taken.items()
                left = [element for element in before.get(name, {}).get(kind, []) if element not in elements]
                after.pop(name, None)
                if left:
                    after[name] = {kind: left}
            else:
                raise NotUnderstood(self.expression)
        return after

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self) -> str:
        self.at += 1
        if self.at > len(self.words):
            raise NotUnderstood(self.expression)
        return self.words[self.at - 1]

    def expect(self, word: str) -> None:
        if self.take() != word:
            raise NotUnderstood(self.expression)

    def name(self) -> str:
        word = self.take()
        if word[0] == "#":
            return self.names[word]
        if not (word[0].isalpha() or word[0] == "_"):
            raise NotUnderstood(self.expression)
        return word

    def sum(self, item: Item) -> Value:
        value = self.operand(item)
        while self.peek() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            value = {"N": str(Decimal(value["N"]) + sign * Decimal(self.operand(item)["N"]))}
        return value

    def operand(self, item: Item) -> Value:
        word = self.peek()
        if word.startswith(":"):
            return self.values[self.take()]
        if word == "list_append":
            self.take(), self.expect("(")
            first = self.operand(item)
            self.expect(",")
            second = self.operand(item)
            self.expect(")")
            return {"L": [*first["L"], *second["L"]]}
        if word == "if_not_exists":
            self.take(), self.expect("(")
            name = self.name()
            self.expect(",")
            other = self.operand(item)
            self.expect(")")
            return item.get(name, other)
        return item[self.name()]


def added(before: Optional[Value], value: Value) -> Value:
    """What ADD makes of a value: a sum, or a larger set."""
    (kind, content), = value.items()
    if kind == "N":
        return {"N": str(Decimal(before["N"] if before else 0) + Decimal(content))}
    known = before[kind] if before else []
    return {kind: [*known, *(element for element in content if element not in known)]}


# ---------------------------------------------------------------------- indexes


@dataclass(frozen=True)
class Index:
    """A global index: what it is sorted by, and what it shows."""

    name: str
    keys: tuple[str, ...]
    shows: Optional[frozenset[str]]  # beside the keys; None: everything

    def entry(self, item: Optional[Item]) -> Optional[Item]:
        """An item as the index has it; nothing if it is not in it."""
        if item is None or any(name not in item for name in self.keys):
            return None
        return {name: value for name, value in item.items() if self.shows is None or name in self.shows or name in (*KEY_NAMES, *self.keys)}

    def writes(self, before: Optional[Item], after: Optional[Item]) -> list[int]:
        """The sizes of the writes that a change of an item costs here."""
        old, new = self.entry(before), self.entry(after)
        if old is None or new is None:
            return [size_of(entry) for entry in (old, new) if entry is not None]
        if any(old[name] != new[name] for name in self.keys):
            return [size_of(old), size_of(new)]
        return [max(size_of(old), size_of(new))] if old != new else []


def indexes(template: Path = TEMPLATE) -> list[Index]:
    """The indexes that the template declares."""
    class Loader(yaml.SafeLoader):
        """Reads the template without understanding its intrinsic functions."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    resources = yaml.load(template.read_text(), Loader)["Resources"].values()  # noqa: S506 - a subclass of the safe loader
    tables = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::DynamoDB::Table"]
    found = []
    for declared in (index for table in tables for index in table.get("GlobalSecondaryIndexes", [])):
        projection = declared["Projection"]
        shows = None if projection["ProjectionType"] == "ALL" else frozenset(projection.get("NonKeyAttributes", []))
        found.append(Index(declared["IndexName"], tuple(key["AttributeName"] for key in declared["KeySchema"]), shows))
    return found


# ---------------------------------------------------------------------- reckoning


@dataclass
class Figure:
    """What there was of one kind."""

    count: int = 0
    write_units: float = 0
    read_units: float = 0


@dataclass
class Write:
    """One write of one item: its key, and what it makes of it."""

    key: Key
    change: Callable[[Item], Optional[Item]]

    def would_be(self, before: Optional[Item]) -> Optional[Item]:
        """The item after it, also if it did not come to that; nothing if it takes the item away."""
        _, partition, sort = self.key
        return self.change(before or {"pk": {"S": partition}, "sk": {"S": sort}})


class Account:
    """Everything reckoned so far, and the items as they are."""

    def __init__(self, known: Iterable[Index]) -> None:
        self.indexes = {index.name: index for index in known}
        self.kinds: dict[str, Figure] = defaultdict(Figure)
        self.items: dict[Key, Item] = {}
        self.overtaken = 0
        self.not_understood: Counter[str] = Counter()

    def figures(self) -> dict[str, Any]:
        """As JSON has them."""
        return {"kinds": {name: vars(figure).copy() for name, figure in sorted(self.kinds.items())},
                "overtaken": self.overtaken, "not_understood": dict(self.not_understood)}

    def take(self, operation: str, request: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> None:
        """Reckons one request."""
        how = getattr(self, f"_{operation}", None)
        refused = status == 400 and str(answer.get("__type", "")).rpartition("#")[2] in REFUSED
        if how is None:
            self.not_understood[operation] += 1
        elif status == 200 or refused:
            how(request, answer, refused)
        else:
            self._count(f"{operation} failed: {str(answer.get('__type', status)).rpartition('#')[2]}")

    def _count(self, kind: str, writes: float = 0, reads: float = 0) -> None:
        figure = self.kinds[kind]
        figure.count += 1
        figure.write_units += writes
        figure.read_units += reads

    # ------------------------------------------------------------------ writes

    def _PutItem(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        self._write("PutItem", put(request), refused, answer)

    def _UpdateItem(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        shown = answer.get("Attributes") if request.get("ReturnValues") == "ALL_NEW" else None
        self._write("UpdateItem", update(request), refused, answer, shown)

    def _DeleteItem(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        self._write("DeleteItem", Write(key_of(request["TableName"], request["Key"]), lambda before: None), refused, answer)

    def _TransactWriteItems(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        reasons = answer.get("CancellationReasons") or [{}] * len(request["TransactItems"])
        for member, reason in zip(request["TransactItems"], reasons):
            (what, asked), = member.items()
            write = put(asked) if what == "Put" else update(asked) if what == "Update" else Write(
                key_of(asked["TableName"], asked["Key"]), (lambda before: before) if what == "ConditionCheck" else (lambda before: None))
            self._write(f"TransactWriteItems {what}", write, refused, reason, times=2)

    def _BatchWriteItem(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        for table, members in request["RequestItems"].items():
            for member in members:
                if member in answer.get("UnprocessedItems", {}).get(table, []):
                    continue
                if "PutRequest" in member:
                    self._write("BatchWriteItem Put", put({"TableName": table, **member["PutRequest"]}), False, {})
                else:
                    self._write("BatchWriteItem Delete", Write(key_of(table, member["DeleteRequest"]["Key"]), lambda before: None), False, {})

    def _write(self, what: str, write: Write, refused: bool, answer: Mapping[str, Any], shown: Optional[Item] = None, times: int = 1) -> None:
        """`answer` may show the item that stood in the way, `shown` is the item after the write."""
        if refused and answer.get("Item"):
            self._learn(write.key, answer["Item"])
        before = after = self.items.get(write.key)
        try:
            after = write.would_be(before)
        except (KeyError, NotUnderstood) as error:  # refused because what it adds to is not there, perhaps
            if not refused and shown is None:
                self.not_understood[f"{what}: {error!r}"[:200]] += 1
        if not refused:
            self._keep(write.key, after)
            if shown is not None:
                self._learn(write.key, shown, is_written=True)
                after = shown
        sizes = [size_of(item) for item in (before, after) if item is not None]
        kind = kind_of(write.key[1], write.key[2])
        self._count(f"{what} {kind}{' (refused)' if refused else ''}", writes=times * started(max(sizes, default=0), KB))
        if not refused:
            for index in self.indexes.values():
                for size in index.writes(before, after):
                    self._count(f"index {index.name}, write", writes=started(size, KB))

    # ------------------------------------------------------------------ reads

    def _GetItem(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool, times: int = 1, what: str = "GetItem") -> None:
        key = key_of(request["TableName"], request["Key"])
        self._read(what, key, answer.get("Item"), "ProjectionExpression" in request, times * share(request))

    def _TransactGetItems(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        for member, found in zip(request["TransactItems"], answer.get("Responses", [])):
            self._GetItem({**member["Get"], "ConsistentRead": True}, found, refused, 2, "TransactGetItems")

    def _BatchGetItem(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        for table, asked in request["RequestItems"].items():
            left = [key_of(table, key) for key in answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])]
            found = {key_of(table, item): item for item in answer.get("Responses", {}).get(table, []) if all(name in item for name in KEY_NAMES)}
            for key in (key_of(table, key) for key in asked["Keys"]):
                if key not in left:
                    self._read("BatchGetItem", key, found.get(key, self.items.get(key) if "ProjectionExpression" in asked else None),
                               "ProjectionExpression" in asked, share(asked))

    def _read(self, what: str, key: Key, found: Optional[Item], in_part: bool, each: float) -> None:
        if not in_part:
            self._learn(key, found)
        whole = self.items.get(key, found) if in_part else found
        self._count(f"{what} {kind_of(key[1], key[2])}", reads=each * started(size_of(whole or {}), 4 * KB))

    def _Query(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool, what: str = "Query") -> None:
        table, items = request["TableName"], answer.get("Items", [])
        index = self.indexes.get(request.get("IndexName", ""))
        keys = [key_of(table, item) for item in items if all(name in item for name in KEY_NAMES)]
        if "ProjectionExpression" in request or "IndexName" in request:
            models = [self.items.get(key, {}) for key in keys]
            whole = [(index.entry(model) if index else model) or shown for model, shown in zip(models, items)]
        else:
            whole = items
            for key, item in zip(keys, items):
                self._learn(key, item)
        size = sum(map(size_of, whole))
        if answer.get("ScannedCount", len(items)) > len(items) > 0:  # what a filter left out was read too
            size = math.ceil(size / len(items) * answer["ScannedCount"])
        about = f"index {request['IndexName']}" if "IndexName" in request else kind_of(*(keys[0][1:] if keys else (asked_partition(request), "EVENT#")))
        self._count(f"{what} {about}", reads=share({} if "IndexName" in request else request) * started(size, 4 * KB))

    def _Scan(self, request: Mapping[str, Any], answer: Mapping[str, Any], refused: bool) -> None:
        self._Query(request, answer, refused, "Scan")

    # ------------------------------------------------------------------ the model

    def _keep(self, key: Key, item: Optional[Item]) -> None:
        if item is None:
            self.items.pop(key, None)
        else:
            self.items[key] = item

    def _learn(self, key: Key, shown: Optional[Item], is_written: bool = False) -> None:
        """What an answer shows of an item. What is known is not given up for it: the answer may have been overtaken by that of a later write.
        Only of the item after a write it is the truth."""
        if key not in self.items:
            self._keep(key, shown)
        elif comparable(self.items[key]) != comparable(shown):
            self.overtaken += 1
            if is_written:
                self._keep(key, shown)


def comparable(item: Optional[Mapping[str, Value]]) -> Any:
    """The same for two items that are the same: sets have no order."""
    return None if item is None else {name: {kind: sorted(content) if kind in ("SS", "NS", "BS") else content for kind, content in value.items()}
                                      for name, value in item.items()}


def share(request: Mapping[str, Any]) -> float:
    """What a started 4 KB costs."""
    return 1 if request.get("ConsistentRead") else 0.5


def key_of(table: str, key: Mapping[str, Value]) -> Key:
    """The key of an item."""
    return table, key["pk"]["S"], key["sk"]["S"]


def asked_partition(request: Mapping[str, Any]) -> str:
    """The partition that a query asks about; nothing if it does not say so in our way."""
    named = re.search(r"(#?\w+)\s*=\s*(:\w+)", request.get("KeyConditionExpression", ""))
    return request.get("ExpressionAttributeValues", {}).get(named[2], {}).get("S", "") if named else ""


def put(request: Mapping[str, Any]) -> Write:
    """A write that puts an item in the place of another."""
    return Write(key_of(request["TableName"], request["Item"]), lambda before: dict(request["Item"]))


def update(request: Mapping[str, Any]) -> Write:
    """A write that changes an item."""
    def change(before: Item) -> Item:
        expression, names = request.get("UpdateExpression", ""), request.get("ExpressionAttributeNames", {})
        return Update(expression, names, request.get("ExpressionAttributeValues", {})).apply(before)
    return Write(key_of(request["TableName"], request["Key"]), change)


# ---------------------------------------------------------------------- passing on


class Closed(Exception):
    """The other side has ended the connection."""


@dataclass
class Message:
    """A request or an answer, as it came."""

    head: bytes
    body: bytes
    raw: bytes

    def first_line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    def header(self, name: str) -> str:
        found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r]*)", self.head, re.IGNORECASE)
        return found[1].decode("latin-1").strip() if found else ""


def read_message(stream: BinaryIO) -> Message:
    """The next one of a connection."""
    lines = []
    while True:
        line = stream.readline()
        if not line:
            raise Closed
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            break
    message = Message(b"".join(lines), b"", b"")
    if "chunked" in message.header("transfer-encoding").lower():
        raw, body = read_chunks(stream)
    else:
        raw = body = read_exactly(stream, int(message.header("content-length") or 0))
    return Message(message.head, body, message.head + raw)


def read_chunks(stream: BinaryIO) -> tuple[bytes, bytes]:
    """A body in chunks: as it came, and what it says."""
    raw, body = [], []
    while True:
        line = stream.readline()
        if not line:
            raise Closed
        size = int(line.partition(b";")[0], 16)
        content = read_exactly(stream, size + 2)
        raw += [line, content]
        body.append(content[:-2])
        if size == 0:
            return b"".join(raw), b"".join(body)


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count) if count else b""
    if len(content) != count:
        raise Closed
    return content


class Meter:
    """Takes connections, passes on what comes, and has it reckoned."""

    def __init__(self, stack_env: Path, account: Account) -> None:
        self.stack_env, self.account = stack_env, account
        self.seen: queue.SimpleQueue[tuple[Message, Message] | threading.Event] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.requests, self.added = 0, 0.0
        self.upstream: Optional[tuple[str, int]] = None

    def listen(self, port: int) -> None:
        """Takes connections from now on."""
        server = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self.reckon, daemon=True).start()

        def accept() -> None:
            while True:
                client, _ = server.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        """One connection, until either side ends it."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server: Optional[socket.socket] = None
        answers: Optional[BinaryIO] = None
        try:
            requests = client.makefile("rb")
            while True:
                request = read_message(requests)
                arrived = time.monotonic()
                path = request.first_line().split(" ")[1]
                if path.startswith("/_meter"):
                    client.sendall(self.tell(path))
                    continue
                if server is None or answers is None or has_ended(server):
                    if server is not None:
                        server.close()
                    server = self.connect()
                    answers = server.makefile("rb")
                left = time.monotonic()
                server.sendall(request.raw)
                answer = read_message(answers)
                returned = time.monotonic()
                self.seen.put((request, answer))  # first: what follows from this answer is reckoned after it
                client.sendall(answer.raw)
                with self.lock:
                    self.requests += 1
                    self.added += time.monotonic() - arrived - (returned - left)
        except (Closed, OSError):
            pass
        finally:
            for one in (client, server):
                if one is not None:
                    one.close()

    def connect(self) -> socket.socket:
        """To the local AWS."""
        if self.upstream is None:
            self.upstream = address_in(self.stack_env)
        made = socket.create_connection(self.upstream, timeout=10)
        made.settimeout(None)  # with one, even MSG_DONTWAIT waits
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def reckon(self) -> None:
        """Reckons what has passed, one after the other."""
        while True:
            one = self.seen.get()
            if isinstance(one, threading.Event):
                one.set()
                continue
            request, answer = one
            operation = request.header("x-amz-target").rpartition(".")[2]
            try:
                self.account.take(operation, json.loads(request.body), int(answer.first_line().split(" ")[1]), json.loads(answer.body or b"{}"))
            except Exception as error:  # noqa: BLE001 - a figure less, and it is told
                self.account.not_understood[f"{operation}: {error!r}"[:200]] += 1

    def settled(self) -> None:
        """Waits until all that has passed is reckoned."""
        reached = threading.Event()
        self.seen.put(reached)
        reached.wait(30)

    def figures(self) -> dict[str, Any]:
        """All figures up to now."""
        self.settled()
        with self.lock:
            return {**self.account.figures(), "requests": self.requests, "added_milliseconds": round(self.added * 1000 / max(self.requests, 1), 3)}

    def tell(self, path: str) -> bytes:
        """An answer of our own."""
        if path == "/_meter/sizes":
            self.settled()
            told: Any = {f"{partition} {sort}": size_of(item) for (_, partition, sort), item in list(self.account.items.items())}
        else:
            told = self.figures()
        body = json.dumps(told).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended a connection on which nothing is awaited."""
    with suppress(BlockingIOError):
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    return False


def address_in(stack_env: Path) -> tuple[str, int]:
    """Where the stack's local AWS is."""
    deadline = time.monotonic() + STACK_ENV_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, KeyError, ValueError):
            known = dict(word.split("=", 1) for word in shlex.split(stack_env.read_text(), comments=True))
            host, _, port = known["AWS_ENDPOINT_URL"].rpartition("//")[2].partition(":")
            return host, int(port)
        time.sleep(0.05)
    raise OSError(f"there is no {stack_env}")


def main() -> None:
    """Command line, used by `load.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="where the functions find it, on 127.0.0.1")
    parser.add_argument("--stack-env", type=Path, required=True, help="says where the local AWS is, as soon as it is there")
    parser.add_argument("--into", type=Path, required=True, help="the file that the figures go to at the end")
    options = parser.parse_args()
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    signal.signal(signal.SIGINT, lambda *_: told_to_end.set())
    sys.setswitchinterval(SWITCH_SECONDS)
    meter = Meter(options.stack_env, Account(indexes()))
    meter.listen(options.port)
    print("listening", flush=True)
    told_to_end.wait()
    options.into.write_text(json.dumps(meter.figures(), indent=1) + "\n")


if __name__ == "__main__":
    main()
