"""Holds the constraints of the template's parameters against the functions' own parser: what a parameter takes, the function must take.

Runs the built `status` with each value below, without AWS_REGION, so that it ends with the list of the settings that it refuses.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from infra.local import cloud, settings, tools

if __name__ == "__main__":
    tools.enter()

DURATIONS = "1ms 500ms 9999999999ms 8s 9999999s 5m 99999m 24h 999h 1days 99days 299days 366days"
NO_DURATIONS = "0s 0 s 8 -1h +8s 8S 08s 1.5h 367days 999days 8s3m 8s; soon 1y"
HTTPS = "https://x.example https://x.example/v3 https://x.example:8443/a-b/ http://localhost:1/v3 http://127.0.0.1:9/v3 http://[::1]:9"
NO_URL = "x.example ftp://localhost http://x.example http://127.0.0.1.example.com https:// https://me:secret@x.example/ https://x.example:99999/ https://x.example:/"
# By the kind of constraint: values that a parameter takes, and values that it refuses. The functions take some of the latter, such as `8s, 3s`.
VALUES: dict[str, tuple[list[str], list[str]]] = {
    "a duration from 1ms to 366days": (DURATIONS.split(), NO_DURATIONS.split()),
    "a duration from 1ms to 290s": (["1ms", "299999ms", "1s", "99s", "199s", "289s", "290s", "4m"],
                                    ["0s", "291s", "299s", "300s", "5m", "1h", "300000ms", "1000000ms", "1days", "60s,1s"]),
    "one or more durations": ([*DURATIONS.split(), "8s,3s,5m", "1ms,366days"], [*NO_DURATIONS.split(), ",", "8s,", ",8s", "8s,,3s", "8s, 3s", "8s,0s", "8s3s"]),
    "a whole number, at least 2": (["2", "9", "10", "6000", "999999999"], ["0", "1", "-2", "2.5", "1e3", "07", "+7", "many", "4294967296"]),
    "a whole number, at least 1": (["1", "10", "999999999"], ["0", "-1", "2.5", "x", "4294967296"]),
    "a whole number from 1 to 10000": (["1", "9999", "10000"], ["0", "10001", "20000", "2.5", "x"]),
    "on or off": (["on", "off"], ["ON", "true", "maybe"]),
    "off, or a duration from 7days": (["off", "7days", "9days", "10days", "90days", "366days"],
                                      ["on", "6days", "0days", "367days", "07days", "1h", "7days,8days"]),
    "error, warn or info": (["error", "warn", "info"], ["debug", "verbose"]),
    "a text of at most 60": (["Flexy Express", "متجر", "x" * 60], ["x" * 61, "a\tb", "a\nb"]),
    "a colour": (["#0b5cad", "#000000", "#C00000"], ["0b5cad", "#0b5ca", "#0b5cad0", "blue", "#ffffff", "#ff8800"]),
    "an https, mailto or tel": (["https://shop.example/a?b=1#c", "mailto:help@shop.example", "tel:+213550123456"],
                                ["http://x.example", "javascript:alert(1)", "tel:", "https://", "tel:1 2", 'https://x"y']),
    "a number of days": (["1days", "90days", "366days"], ["0days", "367days", "1h", "off", "90"]),
    "an https URL, or": (HTTPS.split(), [*NO_URL.split(), "https://x.example/v3?a=b", "https://x.example/#a"]),
    "an https URL of": ([*HTTPS.split(), "https://x.example?a", "https://x.example/a?token=1&b=%20"], [*NO_URL.split(), "https://x.example/a b", "https://x.example/#a"]),
}
NEEDED = {"ORDERS_TABLE": "t", "EVENT_BUS": "b", "CARD_KEY_ID": "k", "SECRET_ID": "s", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "i",
          "AWS_SECRET_ACCESS_KEY": "s", "VENDOR_CALLS_PER_MINUTE": "999999999", "VENDOR_CALLS_BURST": "1"}


def is_taken(name: str, value: str) -> bool:
    """Whether a function takes this value of a setting."""
    ran = subprocess.run([str(cloud.LAMBDA_DIR / "status" / "bootstrap")], env={**NEEDED, name: value}, capture_output=True, text=True, timeout=30)
    if "AWS_REGION is missing" not in ran.stderr:
        sys.exit(f"error: status did not list what it refuses: {ran.stderr}")
    return f"{name} is " not in ran.stderr


def wrong(parameter: str, about: dict[str, str]) -> list[str]:
    """Values of this parameter that the template or the function takes and must not take, or the other way round."""
    name = about["ConstraintDescription"].split()[0]
    kinds = [kind for kind in VALUES if f"must be {kind}" in about["ConstraintDescription"]]
    if len(kinds) != 1:
        return [f"{parameter}: no values are known for: {about['ConstraintDescription']}"]
    good, bad = VALUES[kinds[0]]
    found = []
    for value in [*good, *bad]:
        refused = any(line.startswith(f"{parameter}: {name} must") for line in settings.problems({parameter: value}))
        if refused != (value in bad):
            found.append(f"{parameter}: the template {'refuses' if refused else 'takes'} {value}")
        if value in good and not is_taken(name, value):
            found.append(f"{parameter}: the function refuses {value}")
    return found


def main() -> None:
    """Checks every parameter that a function reads."""
    read_by_functions = set(re.findall(r"^ {8}[A-Z_]+: !Ref (\w+)$", settings.TEMPLATE.read_text(), re.MULTILINE))
    chosen = {name: about for name, about in settings.parameters().items() if name in read_by_functions - {"Release"}}  # which they do not read
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [line for lines in pool.map(wrong, chosen, chosen.values()) for line in lines]
    print("\n".join([*found, f"{len(chosen)} parameters"]))
    sys.exit(1 if found or len(chosen) < 25 else 0)


if __name__ == "__main__":
    main()
