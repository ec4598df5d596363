"""Tracks an order that was sent to the vendor.

  track.py PRODUCT ID [REF]    right after the vendor accepted the order: ID is `topupId` of its answer
  track.py PRODUCT --ref REF   after a send without an answer: finds the order by your REF, and tracks it

PRODUCT is `mobile` or `internet`. Settings: API_URL, API_TOKEN (scope `orders`).
"""

from __future__ import annotations

import sys
from urllib.parse import quote

from tracker import Refused, call, fail, usage

LOOKUP_SECONDS = 300.0


def main(arguments: list[str]) -> None:
    """The command line."""
    usage(__doc__, arguments, len(arguments) in (2, 3) and arguments[0] in ("mobile", "internet") and arguments[-1] != "--ref")
    product, order_id, *rest = arguments
    try:
        if order_id == "--ref":
            order = call("POST", f"/orders/{product}/lookup", {"ref": rest[0]}, LOOKUP_SECONDS)
        else:
            order = call("PUT", f"/orders/{product}/{quote(order_id, safe='')}", {"ref": rest[0]} if rest else {})
    except Refused as refused:
        if order_id == "--ref" and refused.status == 404:
            fail(f"{refused}\nThis does not prove that nothing was sent. Do not refund. You may send once more with the same ref, never with a new one.")
        fail(str(refused))
    print(f"tracked {order['product']} {order['id']}")


if __name__ == "__main__":
    main(sys.argv[1:])
