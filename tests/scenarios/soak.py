#!/usr/bin/env python3
"""Runs the checks that find more the longer they run: each fuzz target of `tests/fuzz/libfuzzer` for a minute, then 50,000 race schedules
(or RACE_SCHEDULES) on a local stack, about an hour. `make soak`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from infra.local import tools
from infra.local.processes import Failure

FUZZ = tools.ROOT / "tests" / "fuzz"
BUILT = tools.ROOT / "target" / "fuzz"


def fuzz(seconds: int) -> str:
    """Runs each fuzz target for `seconds`; libFuzzer prints its statistics and the input of a crash. No sanitizer: the fuzzed code forbids `unsafe`."""
    tools.ensure("cargo-fuzz")
    command = ["cargo", "+nightly", "fuzz", "build", "--fuzz-dir", str(FUZZ / "libfuzzer"), "--sanitizer", "none", "--target-dir", str(BUILT)]
    if subprocess.run(command, cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with("cargo-fuzz")}).returncode != 0:
        raise Failure("the fuzz targets could not be built: they need a nightly compiler (rustup toolchain install nightly --profile minimal) "
                      "and a C++ compiler (on Debian: apt-get install g++)")
    targets, crashed = sorted(source.stem for source in (FUZZ / "libfuzzer" / "targets").glob("*.rs")), []
    for target in targets:
        found, crashes = BUILT / "found" / target, BUILT / "crashes" / target
        for directory in (found, crashes):
            directory.mkdir(parents=True, exist_ok=True)
        known = set(found.iterdir())
        print(f"\n-- {target}, {seconds} s", flush=True)
        # libFuzzer writes new inputs to the first directory, and only reads the committed ones in the second.
        program = next(BUILT.glob(f"*-*/release/{target}"))
        ran = subprocess.run([str(program), str(found), str(FUZZ / "corpus" / target), f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0",
                              "-timeout=10", "-print_final_stats=1", f"-artifact_prefix={crashes}{os.sep}"], cwd=tools.ROOT)
        print(f"{len(set(found.iterdir()) - known)} new inputs in {os.path.relpath(found)}; tests/README.md says how to keep the useful ones", flush=True)
        crashed += [target] if ran.returncode != 0 else []
    if crashed:
        raise Failure(f"fuzz: crashes of {', '.join(crashed)}; their inputs are in {os.path.relpath(BUILT / 'crashes')}")
    return f"fuzz: {len(targets)} targets, {seconds} s each, no crash"


def races(_: int) -> str:
    """Runs the race schedules; returns the line with their figures."""
    process = subprocess.Popen([sys.executable, "-m", "tests.run", "races"], cwd=tools.ROOT, env={"RACE_SCHEDULES": "50000", **os.environ},
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    figures = "races: no figures"
    for line in process.stdout or ():
        print(line, end="", flush=True)
        figures = line.strip() if line.startswith("races: ") else figures
    if process.wait() != 0:
        raise Failure(f"races: FAILED; {figures}")
    return figures


def main() -> None:
    """Command line: runs the steps; the last line has the result of each."""
    steps = {"fuzz": fuzz, "races": races}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(steps), help="run this step only")
    parser.add_argument("--seconds", type=int, default=60, help="how long each fuzz target runs (default: 60)")
    options = parser.parse_args()
    results, failed = [], False
    for name in [options.only] if options.only else steps:
        print(f"\n== {name}", flush=True)
        try:
            results.append(steps[name](options.seconds))
        except Failure as failure:
            results.append(str(failure))
            failed = True
    print(f"\nsoak {'FAILED' if failed else 'passed'}: {'; '.join(results)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
