"""Tests of the examples that need no stack: python -m unittest discover --start-directory clients/python"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
import unittest
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import standardwebhooks.webhooks
from handlers import HANDLERS, REVIEWS, handle
from inbox import Inbox
from standardwebhooks import Webhook
from webhook import receive

# The vector in the tests of the Standard Webhooks libraries, which stand beside the specification.
SECRET, ID, TIMESTAMP = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY, SIGNATURE = b'{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
SAMPLES = sorted((Path(__file__).resolve().parents[2] / "events" / "out").glob("*.json"))


def status_of(body: bytes = BODY, signature: str = SIGNATURE, secret: str = SECRET, event_id: str = ID, clock: int = TIMESTAMP) -> int:
    """The answer to one request, with a clock that stands at `clock`."""
    headers = {"Webhook-Id": event_id, "Webhook-Timestamp": str(TIMESTAMP), "Webhook-Signature": signature}
    with (mock.patch.object(standardwebhooks.webhooks, "datetime", wraps=datetime) as now, tempfile.TemporaryDirectory() as folder,
          contextlib.redirect_stderr(io.StringIO())):
        now.now.return_value = datetime.fromtimestamp(clock, tz=UTC)
        return receive(Webhook(secret), Inbox(Path(folder)), headers, body)


def signed(envelope: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A request as the tracker sends it."""
    body, now, event_id = json.dumps(envelope), int(time.time()), str(envelope["detail"]["event_id"])
    signature = Webhook(SECRET).sign(event_id, datetime.fromtimestamp(now, tz=UTC), body)
    return body.encode(), {"webhook-id": event_id, "webhook-timestamp": str(now), "webhook-signature": signature}


class Signature(unittest.TestCase):
    """The vector has a good signature, but is no event of the tracker: 400 says so. 401 says that the signature is wrong."""

    def test_the_vector(self) -> None:
        self.assertEqual(status_of(), 400)

    def test_a_changed_body(self) -> None:
        self.assertEqual(status_of(body=b'{"test": 2432232315}'), 401)
        self.assertEqual(status_of(body=b"\xff"), 401)

    def test_another_id(self) -> None:
        self.assertEqual(status_of(event_id="msg_other"), 401)

    def test_another_secret(self) -> None:
        self.assertEqual(status_of(secret="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 401)

    def test_five_minutes_and_no_more(self) -> None:
        for clock, status in ((300, 400), (301, 401), (-300, 400), (-301, 401)):
            self.assertEqual(status_of(clock=TIMESTAMP + clock), status, clock)

    def test_one_of_several_signatures_is_enough(self) -> None:
        other = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
        for signatures, status in ((f"{other} {SIGNATURE}", 400), (f"{SIGNATURE} {other}", 400), (f"{other} {other}", 401), ("v1", 401), ("", 401),
                                   (SIGNATURE.replace("v1,", "v2,"), 401)):
            self.assertEqual(status_of(signature=signatures), status, signatures)


class Handlers(unittest.TestCase):
    """What is done for each event."""

    def test_every_sample_has_a_handler(self) -> None:
        details = [json.loads(sample.read_text(encoding="utf-8"))["detail"] for sample in SAMPLES]
        self.assertEqual({detail["detail_type"] for detail in details}, set(HANDLERS))
        for detail in details:
            self.assertNotIn("ignored", handle(detail))

    def test_only_order_refunded_refunds(self) -> None:
        for detail in self.details():
            self.assertEqual("refunded order-12345" in handle(detail), detail["detail_type"] == "Order Refunded", detail["detail_type"])

    def test_a_refund_that_continues_elsewhere_waits(self) -> None:
        (refunded,) = (detail for detail in self.details() if detail["detail_type"] == "Order Refunded")
        for link in ("retry_order_id", "follow_order_id"):
            self.assertNotIn("refunded", handle({**refunded, "order": {**refunded["order"], link: "690"}}))

    def test_reasons_of_a_review(self) -> None:
        (review,) = (detail for detail in self.details() if detail["detail_type"] == "Order Needs Review")
        for reason in (*REVIEWS, "a_new_one"):
            self.assertIn(f"({reason}", handle({**review, "reason": reason}))

    def test_unknown_types_and_versions(self) -> None:
        self.assertIn("ignored", handle({"version": 1, "detail_type": "Order Exploded"}))
        with self.assertRaises(ValueError):
            handle({"version": 2, "detail_type": "Order Fulfilled"})

    def test_a_late_event_does_not_undo_an_outcome(self) -> None:
        for detail in self.details():
            is_passing = detail["detail_type"] in ("Order Queued", "Order Uncertain", "Order Delayed") or detail["detail_type"].startswith("Vendor")
            self.assertEqual("ignored" in handle(detail, is_late=True), is_passing, detail["detail_type"])

    @staticmethod
    def details() -> list[dict[str, Any]]:
        return [json.loads(sample.read_text(encoding="utf-8"))["detail"] for sample in SAMPLES]


class Inboxes(unittest.TestCase):
    """Each event is handled once."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.inbox, self.output = Inbox(Path(folder.name)), io.StringIO()
        self.enterContext(contextlib.redirect_stdout(self.output))

    def receive(self, envelope: dict[str, Any]) -> int:
        body, headers = signed(envelope)
        return receive(Webhook(SECRET), self.inbox, headers, body)

    def test_every_sample_is_received_and_handled_once(self) -> None:
        envelopes = [json.loads(sample.read_text(encoding="utf-8")) for sample in SAMPLES]
        envelopes = list({envelope["detail"]["event_id"]: envelope for envelope in envelopes}.values())  # the samples share some ids
        for _ in range(2):
            for envelope in envelopes:
                self.assertEqual(self.receive(envelope), 204)
            self.assertTrue(self.inbox.work())
        lines = self.output.getvalue().splitlines()
        for envelope in envelopes:
            event_id = envelope["detail"]["event_id"]
            self.assertEqual([line.split()[0] for line in lines if line.split()[1] == event_id], ["handled", "repeated"], event_id)

    def test_a_later_event_is_handled_first(self) -> None:
        samples = {sample.stem: json.loads(sample.read_text(encoding="utf-8")) for sample in SAMPLES}
        for stem in ("order-resumed", "order-queued"):  # seq 3, then seq 2
            self.receive(samples[stem])
            self.inbox.work()
        self.assertIn("a later event was handled before", self.output.getvalue().splitlines()[-1])

    def test_a_failed_event_stays_and_stops_no_other(self) -> None:
        samples = {sample.stem: json.loads(sample.read_text(encoding="utf-8")) for sample in SAMPLES}
        new, good = samples["order-fulfilled"], samples["order-tracked"]
        new["detail"]["version"] = 2
        self.receive(new)
        self.receive(good)
        self.assertFalse(self.inbox.work())
        self.assertFalse(self.inbox.work())
        words = [line.split()[0] for line in self.output.getvalue().splitlines()]
        self.assertEqual(sorted(words), ["failed", "failed", "handled"])


if __name__ == "__main__":
    unittest.main()
