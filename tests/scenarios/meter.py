"""A proxy in front of the local AWS's DynamoDB that counts the requests of the functions and their capacity units.

The functions inherit its address from the local AWS's environment (AWS_ENDPOINT_URL_DYNAMODB). They do not ask for `ConsumedCapacity`, so the proxy adds
`ReturnConsumedCapacity` to each request. A function's signature covers the body, so the proxy sends the request as the local AWS's root user, whose signature
is not checked: the DynamoDB permissions of the roles are not enforced here, but on the other stacks of `make test`.

Exact, by DynamoDB's documented rules:
- The requests by operation and kind of item, and how many were refused by their condition.
- Write units, of indexes too: the local AWS's `ConsumedCapacity`, which it computes from the items before and after the write. In a transaction items cost
  twice their units, index entries do not.
- Read units: computed from the items in the answer, whose bytes the local AWS's own function counts: 1 unit for each started 4 KB, half of that for a read
  that need not be consistent. (The local AWS answers 0.5 or 1 whatever the size, and nothing for a batch.) A read with a projection or filter is `uncounted`.
Assumed: each `Put` of a transaction costs what its own item costs, since our `Put`s create items, and the other members share the rest (the sum is exact);
a refused write costs what the item in its answer costs, or its own item, or 1 KB where there is neither. The local AWS neither throttles nor lets
transactions conflict.
"""

import json
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3
from ministack.services.dynamodb import _item_size_bytes as size_of  # type: ignore[import-untyped]  # bytes of an item; the package is pinned

from infra.local.local_stack import ADMINISTRATOR, REGION, Stack
from infra.local.processes import wait_until

Item = Mapping[str, Mapping[str, Any]]  # attribute values as they are sent: {"pk": {"S": "…"}}
Members = Sequence[tuple[str, Mapping[str, Any]]]  # the writes of a request: operation and parameters

KB = 1024
REFUSED = ("ConditionalCheckFailedException", "TransactionCanceledException")
AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={ADMINISTRATOR}/20260101/{REGION}/dynamodb/aws4_request, SignedHeaders=host, Signature=0"


def started(size: int, unit: int) -> int:
    """The number of started units, at least one."""
    return max(1, math.ceil(size / unit))


def kind_of(item: Item) -> str:
    """What an item is, by its key."""
    partition, sort = item["pk"]["S"], item["sk"]["S"]
    if partition.startswith("ADMISSION#"):
        return "admission"
    return "order" if sort == "ORDER" else "event" if sort.startswith("EVENT#") else "other"


class Account:
    """What was counted since a moment."""

    def __init__(self) -> None:
        self.kinds: dict[str, dict[str, float]] = defaultdict(lambda: {"count": 0, "write_units": 0, "read_units": 0})
        self.uncounted: Counter[str] = Counter()  # requests whose units are not known
        self.requests, self.added_seconds = 0, 0.0

    def add(self, kind: str, writes: float = 0, reads: float = 0) -> None:
        """Counts one request, or one item of a request."""
        for name, value in {"count": 1, "write_units": writes, "read_units": reads}.items():
            self.kinds[kind][name] += value

    def take(self, operation: str, request: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> None:
        """Counts one request."""
        error = str(answer.get("__type", status)).rpartition("#")[2]
        if status != 200 and error not in REFUSED:
            self.add(f"{operation} failed: {error}")
        elif operation == "UpdateItem" and status == 200:
            self.written([(operation, request)], answer["ConsumedCapacity"], answer["ConsumedCapacity"]["Table"]["CapacityUnits"], 1)
        elif operation == "UpdateItem":
            self.refused([(operation, request)], [answer], 1)
        elif operation == "TransactWriteItems":
            members = [(f"{operation} {what}", asked) for member in request["TransactItems"] for what, asked in member.items()]
            if status != 200:
                self.refused(members, answer["CancellationReasons"], 2)
            elif "WriteCapacityUnits" in (consumed := answer["ConsumedCapacity"][0]):
                self.written(members, consumed, consumed["WriteCapacityUnits"], 2)
            else:  # the same transaction again, after its answer was lost
                self.add(f"{operation} (repeated)", reads=consumed["ReadCapacityUnits"])
        elif operation in ("GetItem", "BatchGetItem", "Query"):
            self.read(operation, request, answer)
        else:
            self.uncounted[operation] += 1

    def written(self, members: Members, consumed: Mapping[str, Any], units: float, times: int) -> None:
        """Writes that were carried out, for so many units in the table."""
        puts = [times * started(size_of(asked["Item"]), KB) if "Item" in asked else 0 for _, asked in members]
        others, rest = puts.count(0), units - sum(puts)
        for (what, asked), own in zip(members, puts, strict=True):
            self.add(f"{what} {kind_of(asked['Item'] if own else asked['Key'])}", writes=own or rest / others)
        if rest < times * others or (rest and not others):
            self.uncounted["writes with other units than their items have"] += 1
        for name, index in consumed.get("GlobalSecondaryIndexes", {}).items():
            self.add(f"index {name}, write", writes=index["CapacityUnits"])

    def refused(self, members: Members, reasons: Sequence[Mapping[str, Any]], times: int) -> None:
        """Writes that were refused, by their own condition or another one of the transaction."""
        for (what, asked), reason in zip(members, reasons, strict=True):
            size = max(size_of(asked.get("Item", {})), size_of(reason.get("Item", {})))
            self.add(f"{what} {kind_of(asked.get('Item') or asked['Key'])} (refused)", writes=times * started(size, KB))

    def read(self, operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """A read of one item, of a batch, or of a query."""
        asked, = request["RequestItems"].values() if operation == "BatchGetItem" else (request,)  # there is one table
        if {"ProjectionExpression", "FilterExpression", "Select"} & asked.keys():
            self.uncounted[f"{operation} with a projection or a filter"] += 1
        each = 1.0 if asked.get("ConsistentRead") else 0.5
        if operation == "Query":
            about = f"index {request['IndexName']}" if "IndexName" in request else "event"
            self.add(f"Query {about}", reads=each * started(sum(map(size_of, answer["Items"])), 4 * KB))
        elif operation == "GetItem":
            self.add(f"GetItem {kind_of(request['Key'])}", reads=each * started(size_of(answer.get("Item", {})), 4 * KB))
        else:
            items = [item for found in answer["Responses"].values() for item in found]
            for item in [*items, *asked["Keys"][len(items):]]:  # an order that is not there costs one unit too
                self.add(f"BatchGetItem {kind_of(item)}", reads=each * started(size_of(item), 4 * KB))


class Handler(BaseHTTPRequestHandler):
    """A connection of a function."""

    server: "Meter"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Sends a request on, returns the answer, then counts it."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        arrived, operation = time.monotonic(), self.headers["x-amz-target"].rpartition(".")[2]
        headers = {**{name: self.headers[name] for name in ("content-type", "x-amz-target")}, "authorization": AUTHORIZATION}
        body = json.dumps({**request, "ReturnConsumedCapacity": "INDEXES"}, ensure_ascii=False).encode()
        pool, sent = self.server.local_aws(), time.monotonic()
        try:
            answer = pool.request("POST", self.path, body=body, headers=headers, retries=False)
        except urllib3.exceptions.HTTPError:  # the local AWS goes down; the function sees a closed connection
            self.close_connection = True
            return
        answered = time.monotonic()
        self.send_response(answer.status)
        for name in [name for name in answer.headers if name.lower().startswith(("content-type", "x-amz"))]:
            self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)
        with self.server.lock:
            account = self.server.account
            account.requests += 1
            account.added_seconds += time.monotonic() - answered + sent - arrived
            try:
                account.take(operation, request, answer.status, json.loads(answer.data))
            except Exception as error:  # whatever it is, the request was not counted, and that fails the run
                account.uncounted[f"{operation}: {error!r}"[:200]] += 1

    def log_message(self, *_: object) -> None:
        """Requests are counted, not logged."""


class Meter(ThreadingHTTPServer):
    """The proxy, on `server_port`, until the program ends. `stack` says where the local AWS is, as soon as the template has been deployed."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stack, self.account, self.lock = stack, Account(), threading.Lock()
        self.pool: urllib3.HTTPConnectionPool | None = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def local_aws(self) -> urllib3.HTTPConnectionPool:
        """Connections to the local AWS."""
        if self.pool is None:  # the schedule may call a function before the stack is complete
            wait_until(f"{self.stack.env_file} to be written", self.stack.env_file.exists, 60)
            self.pool = urllib3.connection_from_url(self.stack.read_env()["AWS_ENDPOINT_URL"], maxsize=64, timeout=60)
        return self.pool
