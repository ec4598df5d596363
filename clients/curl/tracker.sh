# Calls of the tracker's HTTP API (docs/api.md), and what all these examples share. Read by the other scripts: `. ./tracker.sh`
# Needs: a POSIX shell, curl 7.76 or newer, and python3 to read JSON.

# fail TEXT: ends the program with an error.
fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# usage RIGHT ARGUMENTS…: shows the comment at the top of the script, if asked for, or if RIGHT is not 0.
usage() {
    right=$1
    shift
    case " $* " in *" --help "* | *" -h "*) right=help ;; esac
    [ "$right" = 0 ] && return
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    [ "$right" = help ] && exit 0
    exit 2
}

# setting NAME: a setting from the environment. Without a value the program ends, and names the variable.
setting() {
    eval "value=\${$1:-}"
    [ -n "$value" ] || fail "$1 is not set. After \`make up\`: set -a; . .local/stack.env; set +a"
}

# state_folder: sets STATE_DIR, the folder for what must survive a restart, if it is not set, and makes it.
state_folder() {
    STATE_DIR=${STATE_DIR:-$(dirname "$0")/state}
    mkdir -p "$STATE_DIR" || fail "STATE_DIR: cannot make the folder $STATE_DIR"
}

# call METHOD PATH [BODY]: makes a call; sets `status` and `answer`. curl repeats it for a minute if there is no answer or the tracker asks for it:
# every call of this API can be repeated without harm. The token goes through standard input, because everybody can see the arguments of a program.
call() {
    setting API_URL
    setting API_TOKEN
    set -- "$1" "$2" "${3:-}" "$(mktemp)"
    status=$(printf 'header = "Authorization: Bearer %s"\n' "$API_TOKEN" |
        curl --config - --silent --show-error --request "$1" --output "$4" --write-out '%{http_code}' --max-time 25 --retry 5 --retry-connrefused \
            --retry-max-time 60 ${3:+--header 'Content-Type: application/json' --data "$3"} "$API_URL$2") || status=0
    answer=$(cat "$4")
    rm -f "$4"
    case $status in
    2??) return 0 ;;
    0 | 000) return 1 ;; # curl has said why
    esac
    printf 'the tracker answered %s: %s\n' "$status" "$(field detail "$answer")" >&2
    return 1
}

# field PATH JSON: prints one member, such as `order.ref`; nothing if it is null or absent.
field() {
    printf '%s' "$2" | python3 -c '
import json, sys
try:
    value = json.load(sys.stdin)
except ValueError:
    sys.exit()
for name in sys.argv[1].split("."):
    value = value.get(name) if isinstance(value, dict) else None
print("" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))' "$1"
}

# encode TEXT: prints the text as a part of a path, percent-encoded.
encode() {
    python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$1"
}
