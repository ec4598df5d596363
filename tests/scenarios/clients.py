"""Runs the examples of `clients/` as a shop's developer does: against a local stack that runs, in every language that is installed.

The stack sends its webhooks to `http://127.0.0.1:PORT/hook`. This program listens there and passes each webhook on to the servers of all languages, so that
all of them verify the tracker's real signatures. Each language tracks three orders, one of them by its reference, waits, receives and verifies webhooks,
hands over a card, and reads the feed. Then every event of each order must have been handled exactly once.

    WEBHOOK_URL=http://127.0.0.1:8000/hook make up
    python3 -m tests.scenarios.clients --port 8000

With `--no-stack` it runs the examples' own tests instead. Exit status 1 if anything is not as expected, or if a card code, a token, a key or the secret of
the webhooks is readable in what an example printed, but for the card that is handed over.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3

from infra.local import tools
from infra.local.cloud import errors_shown
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import Failure, wait_until
from tests.scenarios.order_log import CARD_REVEALED, FULFILLED, TRACKED
from tests.scenarios.stack_client import StackClient, console, contains

CLIENTS = tools.ROOT / "clients"
COMMAND_SECONDS = 180.0  # the longest wait for one command: an order in flight takes 15 s, and longer if the key's calls are used up
WEBHOOK_SECONDS = 60.0  # from the outcome to the last server's line; the tracker retries after 5 s
FEED_SECONDS = 60.0  # an event is in the feed some 8 s after its commit
NEEDED_BY_PHP = ("curl", "json", "pcntl")
SECRETS = {"API token": "API_TOKEN", "vendor's key": "ONECLICKDZ_API_KEY", "webhook secret": "WEBHOOK_SECRET"}


@dataclass
class Language:
    """The examples in one language, and what they printed."""

    name: str
    command: Callable[[str], list[str]]  # of an example, such as `track`
    test: list[str]  # the tests that need no stack
    state: Path = field(default=Path(), kw_only=True)  # STATE_DIR
    orders: dict[str, str] = field(default_factory=dict, kw_only=True)  # the keys (`mobile/690…`) of its own orders, by what they are for
    printed: list[str] = field(default_factory=list, kw_only=True)  # lines of all examples but `card`
    handed_over: str = field(default="", kw_only=True)  # what `card` printed

    def is_server(self) -> bool:
        """Whether it has an example of a webhook server."""
        return self.name != "curl"


def installed() -> list[Language]:
    """The languages whose examples can run on this machine. Python and Node are always there, among the tools. Says what is missing for the others."""
    tools.ensure("clients-python", "clients-node")
    node = tools.TOOLS / "clients-node"
    python = str(tools.program("clients-python", "python"))
    found = [
        Language("python", lambda name: [python, str(CLIENTS / "python" / f"{name}.py")],
                 [python, "-m", "unittest", "discover", "--start-directory", str(CLIENTS / "python")]),
        Language("node", lambda name: [str(tools.node()), str(node / f"{name}.mjs")], [str(tools.node()), "--test", str(node / "test.mjs")]),
    ]
    if missing := missing_for_php():
        console.print(f"php: not run: {missing}")
    else:
        found.append(Language("php", lambda name: ["php", str(CLIENTS / "php" / f"{name}.php")], ["php", str(CLIENTS / "php" / "test.php")]))
    if missing := next((f"{name} is not installed" for name in ("curl", "openssl", "python3") if not shutil.which(name)), ""):
        console.print(f"curl: not run: {missing}")
    else:
        found.append(Language("curl", lambda name: ["sh", str(CLIENTS / "curl" / f"{name}.sh")], ["sh", str(CLIENTS / "curl" / "test.sh")]))
    return found


def missing_for_php() -> str:
    """What the examples in PHP lack on this machine; empty if they can run."""
    if not shutil.which("php"):
        return "php is not installed (on Debian: php-cli and php-curl)"
    answer = subprocess.run(["php", "-r", "echo PHP_VERSION_ID, ' ', implode(' ', get_loaded_extensions());"], capture_output=True, text=True)
    version, *extensions = answer.stdout.split()
    if int(version) < 80200:
        return f"PHP 8.2 or newer is needed, this is {version}"
    lacking = [name for name in NEEDED_BY_PHP if name not in extensions]
    return f"PHP lacks {', '.join(lacking)}" if lacking else ""


@dataclass(frozen=True)
class Delivery:
    """One webhook as it came from the tracker."""

    headers: dict[str, str]
    body: bytes

    def to(self, url: str, body: bytes | None = None) -> int:
        """Sends it to a server, perhaps with another body; returns the status of the answer, 0 without one."""
        headers = {**self.headers, "connection": "close"}
        try:
            return urllib3.request("POST", url, body=self.body if body is None else body, headers=headers, timeout=60, retries=False).status
        except urllib3.exceptions.HTTPError:
            return 0


class Fork:
    """Listens where the tracker sends its webhooks, keeps them, and passes each on to every server."""

    def __init__(self, port: int) -> None:
        self.deliveries: list[Delivery] = []
        self.servers: list[str] = []  # addresses
        self.problems: list[str] = []
        fork = self

        class Handler(BaseHTTPRequestHandler):
            """Answers 204 if all servers took the webhook."""

            def do_POST(self) -> None:
                """Takes one webhook in."""
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                wanted = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")
                self.send_response(fork.take(Delivery({name: self.headers.get(name, "") for name in wanted}, body)))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, delivery: Delivery) -> int:
        """Keeps a webhook and passes it on; returns the status for the tracker."""
        self.deliveries.append(delivery)
        refused = {url: status for url in self.servers if (status := delivery.to(url)) not in range(200, 300)}
        self.problems += [f"{url} answered {status} to {delivery.headers['webhook-id']}" for url, status in refused.items()]
        return 500 if refused or not self.servers else 204


class Running:
    """An example that runs in the background. Its lines are collected as they come."""

    def __init__(self, language: Language, name: str, environment: Mapping[str, str]) -> None:
        self.language, self.what, self.lines = language, f"{language.name}: {name}", list[str]()
        self.process = subprocess.Popen(language.command(name), cwd=tools.ROOT, env=dict(environment), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            self.language.printed.append(line.rstrip("\n"))

    def address(self) -> str:
        """Where a webhook server listens, as it says."""
        self.wait_for_line("listening on ", "", 60)
        return next(line.removeprefix("listening on ") for line in self.lines if line.startswith("listening on "))

    def wait_for_line(self, start: str, part: str, seconds: float) -> None:
        """Waits for a line that starts with one text and contains another."""
        self.wait_for(f"{start}{part}", lambda: any(line.startswith(start) and part in line for line in self.lines), seconds)

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits until the condition holds. Fails when the time is over or the example ends, and shows its last lines."""
        try:
            wait_until(f"{self.what}: {what}", lambda: condition() or self.process.poll() is not None, seconds)
        except Failure as failure:
            raise Failure(f"{failure}; its last lines: {self.lines[-5:]}") from None
        if not condition():
            raise Failure(f"{self.what} ended with status {self.process.returncode}: {self.lines[-5:]}")

    def stop(self) -> int:
        """Ends the example with TERM; returns its exit status, which is negative if a signal ended it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure(f"{self.what} does not end on TERM") from None
        finally:
            self.reader.join(timeout=5)
        return self.process.returncode


def numbered(lines: Sequence[str], word: str, key: str) -> Counter[str]:
    """The ids of an order's events in the lines that begin with this word (`handled`, `repeated`), with how often each comes."""
    found = (re.match(rf"{word} ({re.escape(key)}#\d+)(?: |$)", line) for line in lines)
    return Counter(match[1] for match in found if match)


class Shops(StackClient):
    """The examples of all languages on one stack."""

    def __init__(self, env: Mapping[str, str], languages: Sequence[Language], folder: Path) -> None:
        super().__init__(env)
        self.languages = languages
        for language in languages:
            language.state = folder / language.name
            language.state.mkdir()

    def environment(self, language: Language) -> dict[str, str]:
        """The settings of a language's examples, and nothing else of this program's environment."""
        ours = {name: self.env[name] for name in ("API_URL", "API_TOKEN", "WEBHOOK_SECRET", "ONECLICKDZ_BASE_URL", "ONECLICKDZ_API_KEY")}
        system = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**system, **ours, "PORT": "0", "STATE_DIR": str(language.state), "LC_ALL": "C.UTF-8"}

    def run(self, language: Language, name: str, *arguments: str, status: int = 0, body: bytes = b"", is_secret: bool = False) -> str:
        """Runs an example to its end; returns what it printed on both outputs. Fails if it ends with another status."""
        command = [*language.command(name), *arguments]
        done = subprocess.run(command, cwd=tools.ROOT, env=self.environment(language), input=body, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=COMMAND_SECONDS)
        text = done.stdout.decode(errors="replace")
        if is_secret:
            language.handed_over += text
        else:
            language.printed += text.splitlines()
        if done.returncode != status:
            shown = "" if is_secret else f": {text[-500:]}"
            raise Failure(f"{language.name}: {name} {' '.join(arguments)} ended with status {done.returncode}, expected {status}{shown}")
        return text

    def expect(self, language: Language, what: str, is_so: bool) -> None:
        """Notes a problem unless this is so."""
        if not is_so:
            self.wrong[language.name].add(what)

    def track(self, language: Language) -> None:
        """Sends three orders to the vendor and tracks them, the third by its reference, as after a send without an answer."""
        self.run(language, "feed", "--once")  # keeps the place of now
        curl = next((other for other in self.languages if other.name == "curl"), None)
        for purpose, product, number in (("paid", "mobile", "0778037340"), ("card", "internet", "036362608"), ("lost", "mobile", "0665983439")):
            ref = f"{language.name}-{purpose}-{secrets.token_hex(4)}"
            order_id = self.run(curl, "send", product, number, ref).strip() if curl else self.send("ADSL" if product == "internet" else product, number, ref)
            language.orders[purpose] = key = f"{product}/{order_id}"
            tracked = self.run(language, "track", product, *(["--ref", ref] if purpose == "lost" else [order_id, ref]))
            self.expect(language, f"track {key} printed {tracked!r}", tracked.splitlines()[-1:] == [f"tracked {product} {order_id}"])
            again = self.run(language, "track", product, order_id)
            self.expect(language, f"the second track of {key} printed {again!r}", again.splitlines()[-1:] == [f"tracked {product} {order_id}"])

    def follow(self, language: Language) -> None:
        """Waits for the outcomes, and hands the card over, once."""
        card_id = language.orders["card"].partition("/")[2]
        unknown = self.run(language, "wait", "mobile", "0123456789abcdef01234567", status=1)
        self.expect(language, f"an order that is not tracked: {unknown!r}", "404" in unknown)
        for key in language.orders.values():
            lines = self.run(language, "wait", *key.split("/")).splitlines()
            self.expect(language, f"wait {key} printed {lines}", lines[-2:] == ["FULFILLED (final)", "delivered"])
        for word in ("card_code: ", "handed over at "):
            text = self.run(language, "card", card_id, is_secret=True)
            self.expect(language, "card did not print what it should", text.startswith(word))
        code = self.vendor_orders()[card_id]["card_code"]
        self.expect(language, "card did not hand over the vendor's code exactly once", language.handed_over.count(code) == 1)

    def check_webhooks(self, servers: Sequence[Running], fork: Fork) -> None:
        """Waits until every server has handled the outcomes of all orders. Then sends one webhook a second time, and one with a changed body."""
        wanted = [key for language in self.languages for key in language.orders.values()]
        for server in servers:
            for key in wanted:
                server.wait_for_line(f"handled {key}#", f" {FULFILLED}: ", WEBHOOK_SECONDS)
        delivery = next(found for found in fork.deliveries if found.headers["webhook-id"].startswith(f"{wanted[0]}#"))
        changed = delivery.body.replace(b"FULFILLED", b"REFUNDED")
        for server in servers:
            self.expect(server.language, "a webhook that came twice was not answered with 2xx", delivery.to(server.address()) in range(200, 300))
            server.wait_for_line(f"repeated {delivery.headers['webhook-id']}", "", 60)
            self.expect(server.language, "a changed webhook was not refused", changed != delivery.body and delivery.to(server.address(), changed) == 401)
        if curl := next((language for language in self.languages if language.name == "curl"), None):
            headers = [delivery.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]
            self.run(curl, "verify", *headers, body=delivery.body)
            self.run(curl, "verify", *headers, body=changed, status=1)

    def read_feed(self, language: Language) -> None:
        """Reads the feed until it has shown every event of the language's orders, then once more, then again from where it began, as after a crash."""
        events = {key: [event["event_id"] for event in self.tracker("GET", f"/orders/{key}/history")["events"]] for key in language.orders.values()}
        cursor = language.state / "cursor"
        if not cursor.exists():
            raise Failure(f"{language.name}: feed --once kept no cursor")
        first = cursor.read_text()
        reader = Running(language, "feed", self.environment(language))
        try:
            reader.wait_for("all events", lambda: all(
                set(numbered(reader.lines, "(?:handled|repeated)", key)) >= set(ids) for key, ids in events.items()), FEED_SECONDS)
            shown_at = time.time()
            reader.wait_for("a cursor that was kept after the last event", lambda: cursor.stat().st_mtime > shown_at, 60)
        finally:
            reader.stop()
        self.expect(language, "the cursor did not change", cursor.read_text() != first)
        later = self.run(language, "feed", "--once").splitlines()
        cursor.write_text(first)
        again = self.run(language, "feed", "--once").splitlines()
        for key, ids in events.items():
            self.expect(language, f"{key}: shown after the kept cursor: {later}", not numbered(later, "(?:handled|repeated)", key))
            self.expect(language, f"{key}: after the first cursor: {again}", numbered(again, "repeated", key) == Counter(ids))
            handled = numbered(language.printed, "handled", key)
            self.expect(language, f"{key}: handled {dict(handled)}, expected each of {ids} once", handled == Counter(ids))
        kinds = {line.split(": ")[0].partition(" ")[2].partition(" ")[2] for line in language.printed if line.startswith("handled ")}
        self.expect(language, f"handled {sorted(kinds)}", {TRACKED, FULFILLED, CARD_REVEALED} <= kinds)

    def search_printed(self) -> None:
        """Searches what the examples printed for card codes, the token, the key and the secret."""
        cards = {order["card_code"] for order in self.vendor_orders().values() if order.get("card_code")}
        for language in self.languages:
            text = "\n".join(language.printed)
            found = [what for what, name in SECRETS.items() if contains(text + language.handed_over, {self.env[name].removeprefix("whsec_")})]
            found += ["card code"] if contains(text, cards) else []
            self.wrong[language.name] |= {f"a {what} is readable in what it printed" for what in found}
        self.wrong["problems of the search for secrets"] |= set() if cards else {"no card code to search for"}


@contextmanager
def serving(shops: Shops, fork: Fork) -> Iterator[list[Running]]:
    """Runs the webhook servers of all languages within the block. Each must end with status 0 on TERM."""
    with ExitStack() as stack:
        servers = []
        for language in shops.languages:
            if language.is_server():
                server = Running(language, "webhook", shops.environment(language))
                stack.callback(server.process.kill)  # no effect if it has ended
                servers.append(server)
        fork.servers = [server.address() for server in servers]
        yield servers
        fork.servers = []
        for server in servers:
            status = server.stop()
            shops.expect(server.language, f"the webhook server ended with status {status} on TERM", status == 0)


def in_parallel(languages: Sequence[Language], step: Callable[[Language], None]) -> None:
    """Runs a step of all languages at the same time; fails with the first failure."""
    with ThreadPoolExecutor(len(languages)) as pool:
        list(pool.map(step, languages))


def on_stack(directory: Path, port: int) -> bool:
    """Runs all examples on the stack of this directory; returns whether all was as expected."""
    env = Stack(directory).read_env()
    if not env.get("WEBHOOK_SECRET"):
        raise Failure(f"the stack sends no webhooks: WEBHOOK_URL=http://127.0.0.1:{port}/hook make up")
    languages = installed()
    console.print(f"Runs the examples in {', '.join(language.name for language in languages)}. It takes about a minute.")
    with tempfile.TemporaryDirectory(prefix="clients-") as folder:
        shops = Shops(env, languages, Path(folder))
        fork = Fork(port)
        try:
            with serving(shops, fork) as servers:
                in_parallel(languages, shops.track)
                in_parallel(languages, shops.follow)
                shops.check_webhooks(servers, fork)
            in_parallel(languages, shops.read_feed)
        finally:
            fork.server.shutdown()
            fork.server.server_close()
        shops.search_printed()
    shops.wrong["webhooks that were refused"] |= set(fork.problems)
    orders = sum(len(language.orders) for language in languages)
    return shops.conclude(f"{len(languages)} languages, {orders} orders, {len(fork.deliveries)} webhooks")


def without_stack() -> bool:
    """Runs the examples' own tests; returns whether all passed."""
    good = True
    for language in installed():
        started = time.monotonic()
        done = subprocess.run(language.test, cwd=tools.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        good &= done.returncode == 0
        if done.returncode:
            console.print(f"wrong: {language.name}: {' '.join(language.test)} ended with status {done.returncode}:\n{done.stdout[-3000:]}", style="red")
        console.print(f"{language.name}: {'FAILED' if done.returncode else 'ok'} after {time.monotonic() - started:.1f} s")
    return good


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="folder of the stack's files (default: .local)")
    parser.add_argument("--port", type=int, default=8000, help="the port in the stack's WEBHOOK_URL (default: 8000)")
    parser.add_argument("--no-stack", action="store_true", help="run the tests that need no stack")
    options = parser.parse_args()
    with errors_shown(options.dir / "logs"):
        sys.exit(0 if (without_stack() if options.no_stack else on_stack(options.dir, options.port)) else 1)


if __name__ == "__main__":
    main()
