# What a shop does for each event of the tracker. Read by feed.sh: `. ./handlers.sh`. About the events: docs/events.md.
# Put your own commands in the place of `say`. Only `Order Refunded` is a reason to refund.

say() { printf '%s\n' "$1"; }

# read_event EVENT: sets variables from an event (JSON, the `detail` of docs/events.md). What the event lacks is empty.
read_event() {
    variables=$(printf '%s' "$1" | python3 -c '
import json, shlex, sys, urllib.parse
event = json.load(sys.stdin)
order = event.get("order") or {}
found = {name: event.get(name) for name in ("version", "event_id", "detail_type", "reason", "stated_status", "product")}
found |= {name: order.get(name) for name in ("id", "status", "refund_message")}
found["product"] = event.get("product") or order.get("product")
found["file"] = urllib.parse.quote(event["event_id"], safe="")
found["order"] = order.get("ref") or " ".join(order.get("linked_from") or []) or order.get("id")
found["has_card"] = "yes" if order.get("card", {}).get("available") else "no"
found["other"] = order.get("retry_order_id") or order.get("follow_order_id")
found["offers"] = ", ".join(str(offer.get("plan_code")) for offer in order.get("suggested_offers") or [] if isinstance(offer, dict))
for name, value in found.items():
    print(name + "=" + shlex.quote("" if value is None else " ".join(str(value).splitlines())))') || return 1
    eval "$variables"
}

# handle: does what the event that was read asks for, and prints one line. Fails if the event cannot be handled.
handle() {
    [ "$version" = 1 ] || return 1
    case $detail_type in
    'Order Fulfilled') fulfilled ;;
    'Card Available') say "the card of $order can be handed over: card.sh $id" ;; # it came after `Order Fulfilled`
    'Order Refunded') refunded ;;
    'Order Queued') say "told the customer of $order: it comes within 12 to 48 hours" ;; # no failure: do not refund
    # UNKNOWN_ERROR: the vendor does not know yet. The customer may have the credit already. Do not refund, do not send again.
    'Order Uncertain') say "told the customer of $order: ${refund_message:-the operator checks it; we know more within 24 hours}" ;;
    'Order Delayed') say "told the customer of $order: it takes longer than usual" ;; # nothing is known yet: do not refund
    'Order Needs Review') say "told the operator: $order ($reason $stated_status): $(advice). Do not refund for this" ;;
    'Order Tracked' | 'Order Resumed' | 'Card Revealed' | 'Order Reviewed') say "noted: $order has the status ${status:-none}" ;;
    'Vendor Suspended') say "told the operator: the vendor refuses the key ($reason): check the key and its address list at the vendor" ;;
    'Vendor Resumed') say "told the operator: the vendor answers again; nothing to do" ;;
    'Vendor List Degraded') say "told the operator: the vendor's list of $product orders does not work ($reason); nothing to do" ;;
    *) say "ignored: this program does not know the type" ;;
    esac
}

# An outcome: the customer has the credit, or a card can be read, or a card follows with `Card Available`.
fulfilled() {
    if [ "$has_card" = yes ]; then
        say "the card of $order can be handed over: card.sh $id"
    elif [ "$product" = internet ]; then
        say "told the customer of $order: it worked; the card follows"
    else
        say "delivered $order"
    fi
}

# An outcome: the vendor has given you the money back. If the vendor continues under another id, that order decides.
refunded() {
    if [ -n "$other" ]; then
        say "told the customer of $order: it takes longer; order $other continues it"
    else
        say "refunded $order; message: ${refund_message:-none}; other plans: ${offers:-none}"
    fi
}

# What the operator is to do for each reason of a review. Reasons can be added. None of them is a reason to refund.
advice() {
    case $reason in
    overdue) say 'it takes longer than the vendor says; ask the vendor' ;;
    unrecognised_status) say 'the vendor stated an unknown status; ask the vendor what it means' ;;
    contradiction) say 'the vendor now states something else than its outcome; ask the vendor which is true' ;;
    not_found) say 'the vendor does not know the order; check the id, and whether the key is of the same account' ;;
    card_missing) say 'it is fulfilled but has no card; ask the vendor for the card' ;;
    retried | followed) say 'the vendor continues it under another id; wait for that order, or if you have refunded already, ask the vendor' ;;
    unreadable) say "the vendor's answers cannot be read; ask the vendor about the order" ;;
    rejected) say 'the vendor rejects every call about it; check the id' ;;
    vanished) say 'the vendor does not know it any more; ask the vendor' ;;
    store_refuses) say "the tracker cannot store the vendor's answer; read the tracker's log" ;;
    *) say 'a new reason; read docs/events.md' ;;
    esac
}
