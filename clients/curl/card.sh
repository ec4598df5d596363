#!/bin/sh
# Hands over the card code of an internet order, once. THE CODE IS PRINTED: this program stands for the page that shows it to the customer.
#
#   card.sh ID
#
# Settings: API_URL, API_TOKEN (scope `cards`), STATE_DIR (what was handed over).
# Before you make this call in a shop, check that the customer owns the order. The tracker does not know your customers.

set -eu
. "$(dirname "$0")/tracker.sh"
usage $(($# != 1)) "$@"
state_folder
mkdir -p "$STATE_DIR/cards"
id=$(encode "$1")
record=$STATE_DIR/cards/$id
if [ -e "$record" ]; then
    printf 'handed over at %s; not read again\n' "$(cat "$record")"
    exit
fi
if ! call GET "/orders/internet/$id/card"; then
    [ "$status" != 409 ] || echo 'Wait for `Order Fulfilled` or `Card Available`.' >&2
    exit 1
fi
for name in card_code num_trans date_traitement; do
    value=$(field "$name" "$answer")
    printf '%s: %s\n' "$name" "${value:--}"
done
# Recorded last: after a crash the customer gets the same card again, which harms nobody. No card at all would. The code itself is not kept here.
date -u +%Y-%m-%dT%H:%M:%SZ >"$record"
