"""Hands over the card code of an internet order, once. **The code is printed: this program stands for the page that shows it to the customer.**

  card.py ID

Settings: API_URL, API_TOKEN (scope `cards`), STATE_DIR (what was handed over).
Before you make this call in a shop, check that the customer owns the order. The tracker does not know your customers.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from urllib.parse import quote

from tracker import Refused, call, fail, save, state_folder, usage


def main(arguments: list[str]) -> None:
    """The command line."""
    usage(__doc__, arguments, len(arguments) == 1)
    order_id = arguments[0]
    record = state_folder() / "cards" / quote(order_id, safe="")
    if record.exists():
        print(f"handed over at {record.read_text(encoding='utf-8')}; not read again")
        return
    try:
        card = call("GET", f"/orders/internet/{quote(order_id, safe='')}/card")
    except Refused as refused:
        fail(f"{refused}\nWait for `Order Fulfilled` or `Card Available`." if refused.status == 409 else str(refused))
    for name in ("card_code", "num_trans", "date_traitement"):
        print(f"{name}: {card[name] or '-'}", flush=True)
    # Recorded last: after a crash the customer gets the same card again, which harms nobody. No card at all would. The code itself is not kept here.
    record.parent.mkdir(exist_ok=True)
    save(record, datetime.now(UTC).isoformat(timespec="seconds"))


if __name__ == "__main__":
    main(sys.argv[1:])
