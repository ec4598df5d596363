#!/bin/sh
# Waits until an order is final, or parked because it takes longer.
#
#   wait.sh PRODUCT ID
#
# PRODUCT is `mobile` or `internet`. Settings: API_URL, API_TOKEN (scope `orders`).
# This is for a program that has time, not for a web request. A shop acts on events instead: feed.sh, or a webhook.

set -eu
. "$(dirname "$0")/tracker.sh"
case ${1:-} in mobile | internet) right=$(($# != 2)) ;; *) right=1 ;; esac
usage "$right" "$@"
shown=
tries=120 # 10 minutes; after about 5 minutes in flight the tracker parks the order
while :; do
    call GET "/orders/$1/$(encode "$2")" || exit 1
    phase=$(field phase "$answer")
    state=$(field status "$answer")
    [ "$state ($phase)" = "$shown" ] || printf '%s (%s)\n' "${state:-not checked yet}" "$phase"
    shown="$state ($phase)"
    [ "$phase" = in_flight ] || break
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail 'the order is still in flight; ask again later'
    sleep 5 # asking more often brings nothing: the tracker asks the vendor every 5 s at most
done
parked_as=$(field parked_as "$answer")
case ${parked_as:-$state} in
FULFILLED) echo 'delivered' ;;
REFUNDED) echo 'the vendor gave the money back; refund your customer' ;;
queued) echo 'it comes within 12 to 48 hours; do not refund' ;;
uncertain) echo 'the vendor does not know the outcome; do not refund, the outcome follows within 24 hours' ;;
delayed) echo 'nothing is known yet; do not refund' ;;
not_found) echo 'the vendor does not know the order yet; check the id, do not refund' ;;
esac
