# What a shop does for each event of the tracker. Read by feed.sh: `. ./handlers.sh`. About the events: docs/events.md.
# Put your own commands in the place of `say`. Only `Order Refunded` is a reason to refund.

say() { printf '%s\n' "$1"; }

# handle EVENT: does what the event (JSON, the `detail` of docs/events.md) asks for, and prints one line. Fails if the event cannot be handled.
handle() {
    event=$1
    [ "$(field version "$event")" = 1 ] || return 1
    order=$(field order.ref "$event")
    order=${order:-$(field order.id "$event")}
    case $(field detail_type "$event") in
    'Order Fulfilled') fulfilled ;;
    'Card Available') say "the card of $order can be handed over: card.sh $(field order.id "$event")" ;; # it came after `Order Fulfilled`
    'Order Refunded') refunded ;;
    'Order Queued') say "told the customer of $order: it comes within 12 to 48 hours" ;; # no failure: do not refund
    'Order Uncertain') uncertain ;;
    'Order Delayed') say "told the customer of $order: it takes longer than usual" ;; # nothing is known yet: do not refund
    'Order Needs Review') review ;;
    'Order Tracked' | 'Order Resumed' | 'Card Revealed') say "noted: $order has the status $(field order.status "$event")" ;;
    'Vendor Suspended') say "told the operator: the vendor refuses the key ($(field reason "$event")): check the key and its address list at the vendor" ;;
    'Vendor Resumed') say "told the operator: the vendor answers again; nothing to do" ;;
    'Vendor List Degraded') say "told the operator: the vendor's list of $(field product "$event") orders does not work; nothing to do" ;;
    *) say "ignored: this program does not know the type" ;;
    esac
}

# An outcome: the customer has the credit, or a card can be read, or a card follows with `Card Available`.
fulfilled() {
    if [ "$(field order.card.available "$event")" = true ]; then
        say "the card of $order can be handed over: card.sh $(field order.id "$event")"
    elif [ "$(field order.product "$event")" = internet ]; then
        say "told the customer of $order: it worked; the card follows"
    else
        say "delivered $order"
    fi
}

# An outcome: the vendor has given you the money back. If the vendor continues under another id, that order decides.
refunded() {
    other=$(field order.retry_order_id "$event")
    other=${other:-$(field order.follow_order_id "$event")}
    if [ -n "$other" ]; then
        say "told the customer of $order: it takes longer; order $other continues it"
    else
        say "refunded $order; message: $(field order.refund_message "$event"); other plans: $(field order.suggested_offers "$event")"
    fi
}

# UNKNOWN_ERROR: the vendor does not know yet. The customer may have the credit already. Do not refund, do not send again.
uncertain() {
    message=$(field order.refund_message "$event")
    say "told the customer of $order: ${message:-the operator checks it; we know more within 24 hours}"
}

# A person must look at the order. Reasons can be added. None of them is a reason to refund.
review() {
    reason=$(field reason "$event")
    case $reason in
    overdue) advice='it takes longer than the vendor says; ask the vendor' ;;
    unrecognised_status) advice="the vendor stated $(field stated_status "$event"), which is unknown; ask the vendor what it means" ;;
    contradiction) advice="the vendor now states $(field stated_status "$event"); ask the vendor which is true" ;;
    not_found) advice='the vendor does not know the order; check the id, and whether the key is of the same account' ;;
    card_missing) advice='it is fulfilled but has no card; ask the vendor for the card' ;;
    retried | followed) advice='the vendor continues it under another id; wait for that order, or if you have refunded already, ask the vendor' ;;
    unreadable | vanished) advice='ask the vendor about the order' ;;
    rejected) advice='the vendor rejects every call about it; check the id' ;;
    store_refuses) advice="read the tracker's log" ;;
    *) advice='a new reason; read docs/events.md' ;;
    esac
    say "told the operator: $order ($reason): $advice. Do not refund for this"
}
