"""Runs the checks that find more the longer they run: each fuzz target of `tests/fuzz/libfuzzer` for a minute, then 50,000 race schedules
(or RACE_SCHEDULES) on a local stack, about an hour. `make soak`."""

import argparse
import os
import subprocess
import sys

from infra.local import tools

FUZZ = tools.ROOT / "tests" / "fuzz"
BUILT = tools.ROOT / "target" / "fuzz"


def fuzz(seconds: int) -> list[str]:
    """Runs each fuzz target for `seconds`; libFuzzer prints its statistics and the input of a crash. Returns what failed."""
    tools.ensure("cargo-fuzz")
    # No sanitizer, because the fuzzed code forbids `unsafe`.
    command = ["cargo", "+nightly", "fuzz", "build", "--fuzz-dir", str(FUZZ / "libfuzzer"), "--sanitizer", "none", "--target-dir", str(BUILT)]
    if subprocess.run(command, cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with("cargo-fuzz")}).returncode != 0:
        return ["the build of the fuzz targets, which need a nightly compiler (rustup toolchain install nightly --profile minimal) "
                "and a C++ compiler (on Debian: apt-get install g++)"]
    failed = []
    for target in sorted(source.stem for source in (FUZZ / "libfuzzer" / "targets").glob("*.rs")):
        found, crashes = BUILT / "found" / target, BUILT / "crashes" / target
        for directory in (found, crashes):
            directory.mkdir(parents=True, exist_ok=True)
        known = set(found.iterdir())
        print(f"\n-- {target}, {seconds} s", flush=True)
        # libFuzzer writes new inputs to the first directory, and only reads the committed ones in the second.
        program = next(BUILT.glob(f"*-*/release/{target}"))
        ran = subprocess.run([str(program), str(found), str(FUZZ / "corpus" / target), f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0",
                              "-timeout=10", "-print_final_stats=1", f"-artifact_prefix={crashes}{os.sep}"], cwd=tools.ROOT)
        print(f"{len(set(found.iterdir()) - known)} new inputs in {os.path.relpath(found)}; docs/testing.md says how to keep the useful ones", flush=True)
        failed += [f"{target}, input in {os.path.relpath(crashes)}"] if ran.returncode != 0 else []
    return failed


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("fuzz", "races"), help="run this part only")
    parser.add_argument("--seconds", type=int, default=60, help="how long each fuzz target runs (default: 60)")
    options = parser.parse_args()
    failed = fuzz(options.seconds) if options.only != "races" else []
    races = [sys.executable, "-m", "tests.run", "races"]
    if options.only != "fuzz" and subprocess.run(races, cwd=tools.ROOT, env={"RACE_SCHEDULES": "50000", **os.environ}).returncode != 0:
        failed.append("races")
    print(f"\nsoak: FAILED: {'; '.join(failed)}" if failed else "\nsoak: passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
