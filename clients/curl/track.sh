#!/bin/sh
# Tracks an order that was sent to the vendor.
#
#   track.sh PRODUCT ID [REF]    right after the vendor accepted the order: ID is `topupId` of its answer
#   track.sh PRODUCT --ref REF   after a send without an answer: finds the order by your REF, and tracks it
#
# PRODUCT is `mobile` or `internet`. Settings: API_URL, API_TOKEN (scope `orders`).

set -eu
. "$(dirname "$0")/tracker.sh"
case ${1:-} in mobile | internet) right=$(($# < 2 || $# > 3)) ;; *) right=1 ;; esac
[ "${2:-}" = --ref ] && right=$(($# != 3))
usage "$right" "$@"
body='{}'
[ $# -lt 3 ] || body=$(python3 -c 'import json, sys; print(json.dumps({"ref": sys.argv[1]}))' "$3")
if [ "$2" = --ref ]; then
    tries=30 # 5 minutes: the tracker asks for 10 s between two lookups
    until call POST "/orders/$1/lookup" "$body"; do
        tries=$((tries - 1))
        case $status in 0 | 404 | 429 | 50[234]) ;; *) exit 1 ;; esac
        [ $tries -gt 0 ] || fail 'This does not prove that nothing was sent. Do not refund. You may send once more with the same ref, never with a new one.'
        sleep 10
    done
else
    call PUT "/orders/$1/$(encode "$2")" "$body" || exit 1
fi
printf 'tracked %s %s\n' "$(field product "$answer")" "$(field id "$answer")"
