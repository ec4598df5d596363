"""Opens the customer's tracking page in headless Chromium: every state of an order, in three languages, light and dark, on a phone and at 200 % text.

`page.mjs` drives the browser, and says what it looks for. This program puts orders into every state on two stacks that run, tells the browser where their
pages are, and tries capabilities that open nothing. One stack shows cards and keeps orders in flight for minutes; on the other an order is parked as
`delayed` after seconds. For both, `TRACKING_PAGE` is on.

    python3 -m tests.scenarios.page --dir .local/test-express --delayed-dir .local/test-fast

With `--gallery FOLDER` it opens HTML files instead, such as `queued-ar.html`, and needs no stack: `cargo run -p page --example gallery` writes them to
`.local/page-gallery/`. The screenshots are in `.local/page/`. With `--picture`, four of them become `docs/pictures/page.png`.

Exit status 1 if anything is not as expected.
"""

import argparse
import base64
import hmac
import json
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from infra.local import tools

if __name__ == "__main__":
    tools.enter("browser")

import urllib3

from infra.local.cloud import errors_shown
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import wait_until
from infra.local.redact import redact
from tests.scenarios.stack_client import StackClient, console

PICTURES = DEFAULT_DIRECTORY / "page"
MOST_BYTES = 30_000  # of a response
MADE_UP = 1000
PHASE_SECONDS = 400.0  # for an order to get into its state: not_found takes two minutes
NUMBER = "0665983439"
REFUNDED = "هذا العرض غير متوافق مع هذا الرقم جرب فاتورة"
UNCERTAIN = ("هذه العملية حالتها غير معروفة، يرجى التأكد مع عميلك، ولن نتحمل أي مسؤولية عن أي خسائر. إذا فشلت العملية بالفعل، فلا تقلق، "
             "سيتم استرداد أموالك خلال 24 ساعة")
OFFERS = [{"typename": "📋 FACTURE | فاتورة", "plan_code": "FACTURE_DJEZZY", "amount": 500}, {"new": "unknown"}, None,
          {"typename": "📱 GETMENU | قائمة العروض", "plan_code": "GETMENU_DJEZZY", "validity": {"unit": "day", "count": 30}, "amount": 1000},
          {"plan_code": "PREPAID_DJEZZY", "typename": "💳 PREPAID | دفع مسبق", "amount": 250.5}]
VARYING = {"date", "x-amzn-requestid", "x-amz-apigw-id", "apigw-requestid", "x-amzn-trace-id"}  # headers that differ between any two answers


@dataclass
class Order:
    """An order that stays in one state, and its page."""

    name: str
    product: str
    state: str  # the phase, or what the order is parked as
    status: str | None  # the vendor's; None: the vendor does not know the order
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the vendor's answer
    has_ended: bool = False  # nothing will change on its page
    id: str = ""
    url: str = ""

    def key(self) -> str:
        """Product and id, as in paths."""
        return f"{self.product}/{self.id}"


ORDERS = (
    Order("not_found", "mobile", "not_found", None),
    Order("queued", "internet", "queued", "QUEUED"),
    Order("uncertain", "mobile", "uncertain", "UNKNOWN_ERROR", {"refund_message": UNCERTAIN}),
    Order("delayed", "mobile", "delayed", "HANDLING"),
    Order("fulfilled", "mobile", "final", "FULFILLED", has_ended=True),
    Order("fulfilled_card", "internet", "final", "FULFILLED", {"card_code": "72814093658802", "num_trans": "AT-2871"}, has_ended=True),
    Order("fulfilled_card_late", "internet", "final", "FULFILLED"),
    Order("refunded", "internet", "final", "REFUNDED", has_ended=True),
    Order("refunded_message", "mobile", "final", "REFUNDED", {"refund_message": "الرصيد المطلوب غير متوفر لهذا الرقم"}, has_ended=True),
    Order("refunded_offers", "mobile", "final", "REFUNDED", {"refund_message": REFUNDED, "suggested_offers": OFFERS}, has_ended=True),
    Order("redacted", "mobile", "final", "FULFILLED", has_ended=True),
    Order("in_flight", "mobile", "in_flight", "HANDLING"),  # last: it is placed last, and the browser opens it first
)
PICTURE = ["in_flight-ar-light", "queued-fr-light", "refunded_offers-ar-dark", "fulfilled-en-light"]


def place(client: StackClient, order: Order) -> None:
    """Makes an order known to the vendor, if it is to be, and has it tracked."""
    order.id = secrets.token_hex(12)
    if order.status:
        client.sandbox("/orders", {"product": order.product, "id": order.id, "number": NUMBER, "amount": 500, "ref": f"page-{order.name}",
                                   "timeline": [{"after_seconds": 0, "status": order.status, "fields": order.fields}]})
    order.url = client.tracker("PUT", f"/orders/{order.key()}")["tracking_url"]


def await_state(client: StackClient, order: Order) -> None:
    """Waits until an order is in its state, and has the vendor's first answer: both are on its page."""
    def there() -> bool:
        seen = client.tracker("GET", f"/orders/{order.key()}")
        return order.state in (seen["phase"], seen.get("parked_as")) and seen.get("status") == order.status

    wait_until(f"{order.name} is {order.state}", there, PHASE_SECONDS, every=1)


def ending(client: StackClient) -> dict[str, str]:
    """An order that ends when it is told to: its page, and where to POST its status then."""
    order = Order("live", "mobile", "in_flight", "HANDLING")
    place(client, order)
    await_state(client, order)
    return {"url": in_language(order.url), "settle": f"{client.env['SANDBOX_URL']}/_sandbox/orders/{order.id}/status"}


def in_language(url: str) -> str:
    """The address of a page in the language `{lang}`."""
    return f"{url}?lang={{lang}}"


def encoded(text: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def signed(client: StackClient, key: str, day: int) -> str:
    """The capability for an order that ends with the start of a day (UTC, counted from 1970), as docs/tracking-page.md describes it."""
    secret = json.loads(client.cloud.client("secretsmanager").get_secret_value(SecretId=client.env["PAGE_SECRET_ID"])["SecretString"])
    payload = encoded(f"{key}/{day}".encode())
    return f"{payload}.{encoded(hmac.digest(base64.b64decode(secret['current']), payload.encode(), 'sha256')[:16])}"


def made_up(capabilities: list[str]) -> Iterator[str]:
    """Capabilities that open nothing: invented ones, and real ones of which one character or the tag is another."""
    def text(length: int) -> str:
        return encoded(secrets.token_bytes(length))[:length]

    for index in range(MADE_UP):
        whole = secrets.choice(capabilities)
        payload, tag = whole.split(".")
        other = secrets.choice([one for one in capabilities if one != whole]).split(".")[0]
        at = secrets.choice([at for at, letter in enumerate(whole) if letter != "."])
        changed = whole[:at] + ("A" if whole[at] != "A" else "B") + whole[at + 1:]
        yield (f"{text(len(payload))}.{text(len(tag))}", f"{payload}.{text(len(tag))}", changed, f"{other}.{tag}", text(1 + index % 200))[index % 5]


def problems_of_capabilities(client: StackClient, orders: list[Order]) -> list[str]:
    """Asks for the pages of an expired capability, of an order that is not tracked, and of made-up capabilities. All answers must be the same, in every byte
    and header, and a 404."""
    base, _, one = orders[0].url.rpartition("/")
    day = int(base64.urlsafe_b64decode(one.partition(".")[0] + "==").rpartition(b"/")[2])
    expired, unknown = signed(client, orders[0].key(), int(time.time() // 86_400)), signed(client, f"mobile/{secrets.token_hex(12)}", day)
    pool = urllib3.PoolManager(maxsize=8)

    def answer(capability: str) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        got = pool.request("GET", f"{base}/{capability}", retries=False, timeout=120)
        return got.status, got.data, tuple(sorted((name.lower(), value) for name, value in got.headers.items() if name.lower() not in VARYING))

    with ThreadPoolExecutor(8) as threads:
        answers = Counter(threads.map(answer, [expired, unknown, *made_up([order.url.rpartition("/")[2] for order in orders])]))
    found = [] if signed(client, orders[0].key(), day) == one else ["a capability is not as docs/tracking-page.md says"]
    found += [] if len(answers) == 1 else [f"{len(answers)} different answers where no capability opens anything: {list(answers)[:2]}"]
    return found + [f"status {status} for a capability that opens nothing" for status, _, _ in answers if status != 404]


def browse(told: Mapping[str, Any]) -> bool:
    """Has `page.mjs` open pages; returns whether nothing is wrong with them."""
    driver = [str(tools.node()), str(Path(__file__).with_suffix(".mjs"))]
    everything = {"out": str(PICTURES), "policy": False, "most_bytes": MOST_BYTES, "hidden": [], **told}
    return subprocess.run(driver, input=json.dumps(everything), text=True, cwd=tools.ROOT).returncode == 0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves the files of a folder; yields the address."""
    class Handler(SimpleHTTPRequestHandler):
        """Says nothing about requests."""

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def on_gallery(folder: Path, picture: Mapping[str, Any]) -> bool:
    """Opens the pages of a gallery."""
    names = sorted(file.stem.removesuffix("-ar") for file in folder.glob("*-ar.html"))
    with served(folder) as base:
        pages = [{"name": name, "url": f"{base}/{name}-{{lang}}.html"} for name in names]
        return bool(pages) and browse({"pages": pages, **picture})


def on_stacks(stack: StackClient, delaying: StackClient, picture: Mapping[str, Any]) -> bool:
    """Opens the pages of orders in every state, and of made-up capabilities."""
    clients = {order.name: delaying if order.name == "delayed" else stack for order in ORDERS}
    *lasting, in_flight = ORDERS
    for order in lasting:
        place(clients[order.name], order)
        await_state(clients[order.name], order)
        if order.name == "redacted":
            redact(stack.cloud, order.key())
    wrong = problems_of_capabilities(stack, [order for order in lasting if clients[order.name] is stack])
    for problem in wrong:
        console.print(f"wrong: {problem}")
    place(stack, in_flight)  # only now: after minutes it is parked
    await_state(stack, in_flight)
    gone = f"{ORDERS[0].url.rpartition('/')[0]}/{secrets.token_urlsafe(48)}.{secrets.token_urlsafe(16)}"
    pages = [{"name": order.name, "url": in_language(order.url), "final": order.has_ended} for order in reversed(ORDERS)]
    carded = next(order for order in ORDERS if "card_code" in order.fields)
    browsed = browse({"pages": [*pages, {"name": "gone", "url": in_language(gone), "final": True}], "live": ending(stack), "policy": True,
                      "card": {"url": in_language(carded.url), "code": carded.fields["card_code"]}, "hidden": [NUMBER, NUMBER[1:], "page-"], **picture})
    return browsed and not wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="the stack's directory (default: .local)")
    parser.add_argument("--delayed-dir", type=Path, help="the directory of the stack that parks orders as delayed (default: the same)")
    parser.add_argument("--gallery", type=Path, metavar="FOLDER", help="open these HTML files instead")
    parser.add_argument("--picture", action="store_true", help="write docs/pictures/page.png")
    options = parser.parse_args()
    target = str(tools.ROOT / "docs" / "pictures" / "page.png")
    picture = {"picture": {"path": target, "of": PICTURE}} if options.picture else {}
    with errors_shown():
        if options.gallery:
            good = on_gallery(options.gallery, picture)
        else:
            stack, delaying = (StackClient(Stack(directory).read_env()) for directory in (options.dir, options.delayed_dir or options.dir))
            good = on_stacks(stack, delaying, picture)
    console.print("Everything is as expected: the tracking page" if good else "FAILED: the tracking page")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
