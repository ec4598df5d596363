#!/bin/sh
# Sends a test order to the vendor, as your shop does, and prints its id (`topupId`). For a sandbox: it buys something.
#
#   send.sh mobile NUMBER REF      500 DZD for a phone, such as 0778037340
#   send.sh internet NUMBER REF    an ADSL card of 1000 DZD for a line, such as 036362608
#
# Every order needs a REF of its own. Settings: ONECLICKDZ_BASE_URL, ONECLICKDZ_API_KEY.

set -eu
. "$(dirname "$0")/tracker.sh"
case ${1:-} in mobile | internet) right=$(($# != 3)) ;; *) right=1 ;; esac
usage "$right" "$@"
setting ONECLICKDZ_BASE_URL
setting ONECLICKDZ_API_KEY
if [ "$1" = mobile ]; then
    body=$(printf '{"plan_code": "PREPAID_DJEZZY", "MSSIDN": "%s", "amount": 500, "ref": "%s"}' "$2" "$3")
else
    body=$(printf '{"type": "ADSL", "number": "%s", "value": 1000, "ref": "%s"}' "$2" "$3")
fi
# A send is never repeated by a program: without an answer, ask the tracker: track.sh PRODUCT --ref REF
answer=$(printf 'header = "X-Access-Token: %s"\n' "$ONECLICKDZ_API_KEY" |
    curl --config - --silent --show-error --max-time 25 --header 'Content-Type: application/json' --data "$body" "$ONECLICKDZ_BASE_URL/$1/send") ||
    fail "no answer to the send. Do not send again. Ask: track.sh $1 --ref $3"
id=$(field data.topupId "$answer")
[ -n "$id" ] || fail "the vendor refused the send: $(field error.code "$answer")"
printf '%s\n' "$id"
