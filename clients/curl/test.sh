#!/bin/sh
# Tests of the examples that need no stack: ./test.sh

set -eu
here=$(cd "$(dirname "$0")" && pwd)
samples=$here/../../events/out
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
. "$here/tracker.sh"
. "$here/handlers.sh"
checks=0

# check WHAT FOUND EXPECTED
check() {
    [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"
    checks=$((checks + 1))
}

# The vector in the tests of the Standard Webhooks libraries, which stand beside the specification.
secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
id=msg_p5jXN8AQM9LWM0D4loKWxJek
time=1614265330
body='{"test": 2432232314}'
good=v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
other=v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=

# verified SECRET ID CLOCK SIGNATURES BODY: whether the signature is right
verified() {
    if printf '%s' "$5" | WEBHOOK_SECRET=$1 NOW=$3 "$here/verify.sh" "$2" $time "$4" >"$folder/out" 2>&1; then echo yes; else echo no; fi
}
check 'the vector' "$(verified $secret $id $time $good "$body")" yes
check 'a changed body' "$(verified $secret $id $time $good '{"test": 2432232315}')" no
check 'another id' "$(verified $secret msg_other $time $good "$body")" no
check 'another secret' "$(verified whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA $id $time $good "$body")" no
check '300 s later' "$(verified $secret $id $((time + 300)) $good "$body")" yes
check '301 s later' "$(verified $secret $id $((time + 301)) $good "$body")" no
check '301 s earlier' "$(verified $secret $id $((time - 301)) $good "$body")" no
check 'the second of two signatures' "$(verified $secret $id $time "$other $good" "$body")" yes
check 'the first of two signatures' "$(verified $secret $id $time "$good $other" "$body")" yes
check 'no good signature' "$(verified $secret $id $time "$other $other" "$body")" no
check 'no signature' "$(verified $secret $id $time "" "$body")" no
check 'another version' "$(verified $secret $id $time "v2${good#v1}" "$body")" no
check 'no secret' "$(verified '' $id $time $good "$body") $(grep -c WEBHOOK_SECRET "$folder/out")" 'no 1'

for sample in "$samples"/*.json; do
    event=$(python3 -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))["detail"]))' "$sample")
    read_event "$event"
    line=$(handle)
    kind=$detail_type
    case $line in ignored* | '') fail "$kind is not handled: $line" ;; esac
    case $line in refunded*) refunds=yes ;; *) refunds=no ;; esac
    case $kind in 'Order Refunded') expected=yes ;; *) expected=no ;; esac
    check "$kind refunds" $refunds $expected
done
for reason in overdue unrecognised_status contradiction not_found card_missing retried followed unreadable rejected vanished store_refuses; do
    check "$reason has an advice" "$(advice | grep -c 'a new reason' || true)" 0
done
read_event '{"version": 1, "event_id": "mobile/1#1", "detail_type": "Order Exploded", "order": {"ref": "$(date) '"'"'; exit 1"}}'
check 'text of the vendor is no shell' "$order" '$(date) '"'; exit 1"
check 'an unknown type' "$(handle)" 'ignored: this program does not know the type'
read_event '{"version": 2, "event_id": "mobile/1#1", "detail_type": "Order Refunded"}'
if handle >/dev/null; then fail 'an unknown version'; fi
read_event '{"version": 1, "event_id": "mobile/1#1", "detail_type": "Order Refunded", "order": {"ref": "r", "id": "1", "retry_order_id": "2"}}'
check 'a refunded order that continues' "$(handle)" 'told the customer of r: it takes longer; order 2 continues it'
echo "$checks checks passed"
