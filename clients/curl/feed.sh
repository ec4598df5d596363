#!/bin/sh
# Reads the tracker's events from its feed: for a shop without a public address.
#
#   feed.sh              reads on and on; each call waits up to 15 s for an event
#   feed.sh --once       reads what is new, then ends: for cron
#   … --oldest           without a kept cursor, begins with the oldest event instead of now
#
# Settings: API_URL, API_TOKEN (scope `orders`), STATE_DIR (the cursor, and the ids of the handled events). Ctrl-C ends it.

set -eu
. "$(dirname "$0")/tracker.sh"
. "$(dirname "$0")/handlers.sh"
wait=15
after=latest
right=0
for argument; do
    case $argument in --once) wait=0 ;; --oldest) after= ;; *) right=1 ;; esac
done
usage $right "$@"
state_folder
mkdir -p "$STATE_DIR/done"
cursor=$STATE_DIR/cursor
[ ! -e "$cursor" ] || after=$(cat "$cursor")

# work PAGE: handles each event of a page once: the id of an event that was handled is the name of a file. Prints nothing for an empty page.
work() {
    printf '%s' "$1" | python3 -c '
import json, sys
for event in json.load(sys.stdin)["events"]:
    print(json.dumps(event))' | while IFS= read -r event; do
        read_event "$event"
        if [ -e "$STATE_DIR/done/$file" ]; then
            say "repeated $event_id"
            continue
        fi
        line=$(handle) || fail "$event_id cannot be handled; the next run reads the page again"
        say "handled $event_id $detail_type: $line"
        : >"$STATE_DIR/done/$file"
    done
}

while :; do
    call GET "/events?limit=100&wait=$wait${after:+&after=$(encode "$after")}" || exit 1
    page=$answer
    work "$page"
    before=$after
    after=$(field next "$page")
    printf '%s' "$after" >"$cursor.tmp"
    mv "$cursor.tmp" "$cursor" # only now: after a crash the same page is read again
    if [ "$after" = "$before" ]; then # nothing more now
        [ $wait -gt 0 ] || exit 0
        sleep 1
    fi
done
