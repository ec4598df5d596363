#!/usr/bin/env python3
"""Runs what finds more the longer it runs, and says what it did in one line. `make soak`.

A step does its work and answers with its figures; to add one, write the function and name it in STEPS.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from infra.local import tools
from infra.local.processes import Failure

FUZZ = tools.ROOT / "tests" / "fuzz"
BUILT = tools.ROOT / "target" / "fuzz"
FOUND = BUILT / "found"
CRASHES = BUILT / "crashes"
LONGEST_INPUT = 4096


def nightly(*words: str) -> str:
    """What cargo's nightly answers; libFuzzer needs its instrumentation, and nothing else here does."""
    try:
        return subprocess.run(["cargo", "+nightly", *words], cwd=tools.ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure("fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal\n"
                      f"{getattr(error, 'stderr', '') or error}".rstrip()) from None


def build_targets() -> Path:
    """Builds all targets; answers the directory of the programs. No sanitizer: `unsafe` is forbidden in what is fuzzed."""
    host = next(line.split()[1] for line in nightly("--version", "--verbose").splitlines() if line.startswith("host: "))
    command = ["cargo", "+nightly", "fuzz", "build", "--fuzz-dir", str(FUZZ / "libfuzzer"), "--sanitizer", "none", "--target-dir", str(BUILT)]
    if subprocess.run(command, cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with("cargo-fuzz")}).returncode != 0:
        raise Failure("the fuzz targets could not be built; libFuzzer needs a C++ compiler (on Debian: apt-get install g++)")
    return BUILT / host / "release"


def fuzz_one(program: Path, seconds: int) -> tuple[int, int, int]:
    """Runs one target; answers executions, new inputs and crashes."""
    target = program.name
    found, crashes = FOUND / target, CRASHES / target
    for directory in (found, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    kept = set(found.iterdir())
    # New inputs go to the first directory; the committed ones in the second are only read.
    ran = subprocess.run([str(program), str(found), str(FUZZ / "corpus" / target), f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}",
                          f"-artifact_prefix={crashes}{os.sep}", "-timeout=10", "-print_final_stats=1"],
                         cwd=tools.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    executions = re.search(r"stat::number_of_executed_units: (\d+)", ran.stdout)
    broken = sorted(set(crashes.iterdir()) - before)
    if ran.returncode != 0:
        print("\n".join(f"    {line[:500]}" for line in ran.stdout.splitlines()[-40:]), flush=True)
        for crash in broken:
            print(f"  to see it again: {program} {crash}", flush=True)
    return int(executions[1]) if executions else 0, len(set(found.iterdir()) - kept), max(len(broken), int(ran.returncode != 0))


def fuzz(seconds: int) -> str:
    """Each fuzz target for so many seconds."""
    tools.ensure("cargo-fuzz")
    programs = build_targets()
    figures, crashed = [], 0
    for source in sorted((FUZZ / "libfuzzer" / "targets").glob("*.rs")):
        started = time.monotonic()
        executions, new, crashes = fuzz_one(programs / source.stem, seconds)
        print(f"{source.stem:16} {executions:>9} executions {new:>5} new inputs {crashes:>3} crashes {time.monotonic() - started:6.1f} s", flush=True)
        figures.append(f"{source.stem} {executions}+{new}")
        crashed += crashes
    print(f"new inputs are in {FOUND.relative_to(tools.ROOT)}; tests/README.md says how the worthwhile ones are kept", flush=True)
    line = f"fuzz (executions+new inputs): {', '.join(figures)}; {crashed} crashes"
    if crashed:
        raise Failure(f"{line}, in {CRASHES.relative_to(tools.ROOT)}")
    return line


def races(_: int) -> str:
    """50,000 race schedules (or RACE_SCHEDULES) on a local stack; takes an hour or so."""
    environment = {"RACE_SCHEDULES": "50000", **os.environ}
    process = subprocess.Popen([sys.executable, "-m", "tests.run", "races"], cwd=tools.ROOT, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    figures = "no figures"
    for line in process.stdout or ():
        print(line, end="", flush=True)
        if line.startswith("races: "):
            figures = line.strip()
    if process.wait() != 0:
        raise Failure(figures)
    return figures


# Each is given the seconds that one of its runs may take.
STEPS: dict[str, Callable[[int], str]] = {
    "fuzz": fuzz,
    "races": races,
}


def main() -> None:
    """Command line: runs the named steps, or all; the last line has the figures of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"one of {', '.join(STEPS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="how long each run of a step takes (default: 60)")
    chosen = parser.parse_args()
    for name in chosen.steps:
        if name not in STEPS:
            parser.error(f"there is no step {name!r}")
    figures, good = [], True
    for name in chosen.steps or STEPS:
        print(f"\n== {name}", flush=True)
        try:
            figures.append(STEPS[name](chosen.seconds))
        except Failure as failure:
            figures.append(f"{name} FAILED: {failure}")
            good = False
    print(f"\nsoak: {'; '.join(figures)}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
