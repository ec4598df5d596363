"""Waits until an order is final, or parked because it takes longer.

  wait.py PRODUCT ID

PRODUCT is `mobile` or `internet`. Settings: API_URL, API_TOKEN (scope `orders`).
This is for a program that has time, not for a web request. A shop acts on events instead: webhook.py or feed.py.
"""

from __future__ import annotations

import sys
import time
from urllib.parse import quote

from tracker import Refused, call, fail, usage

EVERY = 5.0  # seconds; asking more often brings nothing: the tracker asks the vendor every 5 s at most
LONGEST = 600.0  # seconds; after about 5 minutes in flight the tracker parks the order
MEANINGS = {
    "FULFILLED": "delivered",
    "REFUNDED": "the vendor gave the money back; refund your customer",
    "queued": "it comes within 12 to 48 hours; do not refund",
    "uncertain": "the vendor does not know the outcome; do not refund, the outcome follows within 24 hours",
    "delayed": "nothing is known yet; do not refund",
    "not_found": "the vendor does not know the order yet; check the id, do not refund",
}


def main(arguments: list[str]) -> None:
    """The command line."""
    usage(__doc__, arguments, len(arguments) == 2 and arguments[0] in ("mobile", "internet"))
    product, order_id = arguments
    shown, until = "", time.monotonic() + LONGEST
    while True:
        try:
            order = call("GET", f"/orders/{product}/{quote(order_id, safe='')}")
        except Refused as refused:
            fail(str(refused))
        state = f"{order['status'] or 'not checked yet'} ({order['phase']})"
        if state != shown:
            print(state, flush=True)
            shown = state
        if order["phase"] != "in_flight":
            print(MEANINGS.get(order["parked_as"] or order["status"], ""))
            return
        if time.monotonic() > until:
            fail("the order is still in flight; ask again later")
        time.sleep(EVERY)


if __name__ == "__main__":
    main(sys.argv[1:])
