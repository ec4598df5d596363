#!/bin/sh
# Verifies the signature of a webhook with openssl. The body comes from standard input, exactly as it was received.
#
#   verify.sh ID TIMESTAMP SIGNATURES <BODY      the values of the headers webhook-id, webhook-timestamp and webhook-signature
#
# Ends with status 0 if a signature is right and not older than 5 minutes. Settings: WEBHOOK_SECRET.
# It shows how the signature is made. For a server use another language: while openssl runs, users of the same machine can see the key in its arguments.

set -eu
. "$(dirname "$0")/tracker.sh"
usage $(($# != 3)) "$@"
setting WEBHOOK_SECRET
case $2 in '' | *[!0-9]*) fail 'the timestamp is no number' ;; esac
age=$((${NOW:-$(date +%s)} - $2)) # NOW: for tests
[ "${age#-}" -le 300 ] || fail 'the timestamp is more than 5 minutes away'
key=$(printf '%s' "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
[ -n "$key" ] || fail 'WEBHOOK_SECRET must be `whsec_` and the secret in base64'
expected=v1,$({
    printf '%s.%s.' "$1" "$2"
    cat
} | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
# The digests are compared, not the signatures: so the time of the comparison tells nothing about them.
digest() { printf '%s' "$1" | openssl dgst -sha256 -r; }
wanted=$(digest "$expected")
for signature in $3; do # during a rotation there are two
    if [ "$(digest "$signature")" = "$wanted" ]; then
        echo 'the signature is right'
        exit
    fi
done
fail 'the signature is wrong'
