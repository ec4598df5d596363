#!/usr/bin/env python3
"""Measures the functions beside what a user would pick instead, prints tables, and fails where a gate is missed. `make bench`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

from infra.local import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", *(("bench-python", "bench-node", "plot") if "check" not in sys.argv else ()))

from rich.console import Console
from rich.table import Table

from infra.local import cloud
from infra.local.processes import Failure

BENCH = tools.ROOT / "tests" / "bench"
PEERS = BENCH / "peers"
TARGET = tools.TARGET / "bench"
FOLDER = tools.ROOT / ".local" / "bench"
BASELINE = BENCH / "baseline.json"
OURS = {"status": "status", "poller": "poll", "recheck": "recheck"}
# Counts move by a percent or two from run to run; what is won is held within this.
TOLERANCE = 0.10
Figures = Mapping[str, Any]
# How the measuring program ends if a program under valgrind was too slow for its own timeouts.
TOO_BUSY = 3


class TooBusy(Failure):
    """The machine has no time for valgrind now."""


def packaged(lambda_dir: Path, name: str) -> Path:
    """The program as it is uploaded."""
    return lambda_dir / name / "bootstrap"


def our_subjects(lambda_dir: Path) -> list[dict[str, Any]]:
    """The three functions."""
    return [{"name": name, "command": [str(packaged(lambda_dir, name))], "folder": str(tools.ROOT), "job": job, "ours": True, "counted": True}
            for name, job in OURS.items()]


def unconnected(subjects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with nobody to connect to, and so with their secrets in the environment: what a start costs by itself."""
    nowhere = {"SECRET_ID": "", "ONECLICKDZ_API_KEY": "bench-vendor-key-0123456789", "API_TOKENS": "bench-token-0123456789",
               "AWS_ENDPOINT_URL_DYNAMODB": "https://localhost:9", "AWS_ENDPOINT_URL_EVENTBRIDGE": "https://localhost:9", "ONECLICKDZ_BASE_URL": "https://localhost:9/v3"}
    return [{**subject, "name": f"{subject['name']}, unconnected", "job": "start", "environment": nowhere} for subject in subjects]


def build_driver(profile: str) -> Path:
    """The program that measures. Counts do not depend on its speed; times do, since it shares the processor with what it measures."""
    cloud.cargo(["cargo", "build", "--package", "bench", "--profile", profile])
    return tools.TARGET / ("debug" if profile == "dev" else profile) / "bench"


def build_all() -> list[dict[str, Any]]:
    """Builds everything as it would be deployed; answers what is measured."""
    architecture = cloud.machine_architecture()
    cloud.build_release(architecture, TARGET / "lambda")
    for peer in ("hello", "rust-defaults"):
        cloud.cargo(["cargo", "lambda", "build", "--release", "--arm64" if architecture == "arm64" else "--x86-64", "--manifest-path",
                     str(PEERS / peer / "Cargo.toml"), "--lambda-dir", str(TARGET / "lambda")], {"CARGO_TARGET_DIR": str(TARGET / "peers")})
    node = tools.TOOLS / "bench-node"
    rust = [{"name": name, "command": [str(packaged(TARGET / "lambda", program))], "folder": str(tools.ROOT), "job": job, "counted": True}
            for name, program, job in (("hello world", "hello", "hello"), ("Rust, all defaults", "rust-defaults", "status"))]
    ours = our_subjects(TARGET / "lambda")
    return [
        rust[0], *ours, rust[1],
        {"name": "Python", "command": [str(tools.program("bench-python", "python")), "-m", "awslambdaric", "app.handler"],
         "folder": str(PEERS / "python"), "job": "status", "environment": {"PYTHONDONTWRITEBYTECODE": "1"}},
        {"name": "Node", "command": [node_program(), str(node / "dist" / "index.mjs")], "folder": str(node), "job": "status"},
    ]


def node_program() -> str:
    """Node 20 of the PATH, or the one that the tool brought."""
    return tools.node_20() or str(tools.program("node-20", "node"))


def run_driver(driver: Path, subjects: list[dict[str, Any]], *arguments: str) -> dict[str, Any]:
    """Runs the measuring program; it says itself how far it is."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / "subjects.json"
    file.write_text(json.dumps(subjects, indent=1))
    done = subprocess.run([str(driver), "--subjects", str(file), "--folder", str(FOLDER), *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode == TOO_BUSY:
        raise TooBusy("a program could not be measured, see above")
    if done.returncode != 0:
        raise Failure("the measuring program failed, see above")
    return json.loads(done.stdout)


def sizes(subjects: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """MB of each Rust program, and of its package."""
    found = {}
    for subject in subjects:
        program = Path(subject["command"][0])
        if program.name != "bootstrap":
            continue
        archive = FOLDER / "package.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
            package.write(program, "bootstrap")
        found[subject["name"]] = {"binary": program.stat().st_size / 1e6, "zip": archive.stat().st_size / 1e6}
        archive.unlink()
    return found


@dataclass
class Gate:
    """What is asked of the figures. A figure that this machine cannot measure is said to be so, and is no miss."""

    what: str
    gate: float
    aim: float
    figure: Callable[[Figures], Optional[float]]
    form: str = "{:.2f}"

    def shown(self, value: float) -> str:
        """As the table says it."""
        return f"1/{1 / value:.0f}" if self.form == "ratio" else self.form.format(value)


def instructions(figures: Figures, name: str, call: Optional[str] = None, when: str = "warm") -> Optional[float]:
    """Millions of instructions."""
    counts = (figures.get("instructions") or {}).get(name)
    if counts is None:
        return None
    return (counts["init"] if call is None else counts["calls"][call][when]) / 1e6


def worst(values: Iterator[Optional[float]]) -> Optional[float]:
    """The largest, if all were measured."""
    measured = list(values)
    return None if None in measured else max(value for value in measured if value is not None)


def against(peer: str, figure: str) -> Callable[[Figures], Optional[float]]:
    """Our status function beside a peer, in the kind of call in which we look worse."""
    def ratio(figures: Figures) -> Optional[float]:
        if figure == "cold_wall" and figures["without_quota"]:
            return None
        ours, theirs = figures["times"]["status"]["calls"], figures["times"][peer]["calls"]
        return max(ours[call][figure] / theirs[call][figure] for call in ours)
    return ratio


GATES = [
    Gate("init, unconnected: M instructions", 4, 2, lambda f: worst(instructions(f, f"{name}, unconnected") for name in OURS)),
    Gate("init CPU, connections included: × hello world", 3, 2.3,
         lambda f: max(f["times"][name]["init_cpu"] for name in OURS) / f["times"]["hello world"]["init_cpu"]),
    Gate("first call, final order: M instructions", 3, 1, lambda f: instructions(f, "status", "final order", "first")),
    Gate("warm call that asks, commits, announces: M instructions", 3, 2, lambda f: instructions(f, "status", "asks the vendor")),
    Gate("warm call, final order: M instructions", 0.7, 0.4, lambda f: instructions(f, "status", "final order")),
    Gate("init + first call at 128 MB: of Python's", 1 / 30, 1 / 100, against("Python", "cold_wall"), "ratio"),
    Gate("init + first call at 128 MB: of Node's", 1 / 30, 1 / 100, against("Node", "cold_wall"), "ratio"),
    Gate("init + first call at 128 MB: of Rust's with all defaults", 1 / 10, 1 / 50, against("Rust, all defaults", "cold_wall"), "ratio"),
    Gate("warm CPU: of Python's", 1 / 6, 1 / 10, against("Python", "warm_cpu"), "ratio"),
    Gate("warm CPU: of Node's", 1 / 10, 1 / 20, against("Node", "warm_cpu"), "ratio"),
    Gate("peak memory: MB", 12, 8, lambda f: max(f["times"][name]["peak_mb"] for name in OURS), "{:.1f}"),
    Gate("binary: MB", 7, 5, lambda f: max(f["sizes"][name]["binary"] for name in OURS)),
    Gate("zip: MB", 3.2, 2.3, lambda f: max(f["sizes"][name]["zip"] for name in OURS)),
]


def rows_of_times(figures: Figures) -> list[list[str]]:
    """One row per subject and kind of call."""
    rows = []
    for name, of_subject in figures["times"].items():
        size = figures["sizes"].get(name)
        for index, (call, of_call) in enumerate(of_subject["calls"].items()):
            start = [name, f"{of_subject['init_cpu']:.1f}"] if index == 0 else ["", ""]
            rest = [f"{of_subject['peak_mb']:.1f}", f"{size['binary']:.2f} / {size['zip']:.2f}" if size else "–"] if index == 0 else ["", ""]
            cold = f"{of_call['cold_wall']:.1f}" if not figures["without_quota"] else "–"
            rows.append([*start, call, f"{of_call['first_cpu']:.2f}", cold, f"{of_call['warm_cpu']:.2f}",
                         f"{of_call['warm_p50']:.2f} / {of_call['warm_p99']:.2f}", *rest])
    return rows


def rows_of_counts(figures: Figures) -> list[list[str]]:
    """One row per subject and kind of call."""
    rows = []
    for name, counts in (figures.get("instructions") or {}).items():
        calls = counts["calls"] or {"": None}
        for index, (call, of_call) in enumerate(calls.items()):
            rows.append([name if index == 0 else "", f"{counts['init'] / 1e6:.2f}" if index == 0 else "", call,
                         *([f"{of_call['first'] / 1e6:.2f}", f"{of_call['warm'] / 1e6:.2f}"] if of_call else ["", ""])])
    return rows


def rows_of_gates(figures: Figures) -> list[tuple[list[str], bool]]:
    """One row per gate, and whether it holds."""
    rows = []
    for gate in GATES:
        value = gate.figure(figures)
        holds = value is None or value <= gate.gate
        verdict = "not measured here" if value is None else "MISSED" if not holds else "aim" if value <= gate.aim else "gate"
        rows.append(([gate.what, "–" if value is None else gate.shown(value), gate.shown(gate.gate), gate.shown(gate.aim), verdict], holds))
    return rows


TIMES = ("", "init CPU, ms", "call", "first call CPU, ms", "init + first call at 128 MB, ms", "warm CPU, ms", "warm p50 / p99, ms", "peak MB", "binary / zip, MB")
COUNTS = ("", "init", "call", "first", "warm")
GATE_COLUMNS = ("measure", "figure", "gate", "aim", "reached")


def show(title: str, columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """A table for the terminal."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("", "call", "measure") else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def markdown(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """The same for a page."""
    lines = [columns, ["---" if column in ("", "call", "measure") else "---:" for column in columns], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """What the figures were measured on."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
                 platform.machine())
    return f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release().partition('-')[0]}"


def report(figures: Figures) -> bool:
    """Prints the tables, writes them as a page with a picture; answers whether all gates hold."""
    gates = rows_of_gates(figures)
    show("Times (medians)", TIMES, rows_of_times(figures))
    show("Instructions, millions", COUNTS, rows_of_counts(figures))
    show("Gates", GATE_COLUMNS, [row for row, _ in gates])
    page = "\n\n".join([
        f"`make bench`, {datetime.date.today().isoformat()}, {machine()}. Medians of {figures['rounds']} rounds; {figures['calls']} warm calls of each kind in a round.",
        markdown(GATE_COLUMNS, [row for row, _ in gates]),
        markdown(TIMES, rows_of_times(figures)), "Instructions, millions:", markdown(COUNTS, rows_of_counts(figures))])
    (FOLDER / "results.md").write_text(page + "\n")
    subprocess.run([str(tools.program("plot", "python")), str(Path(__file__).with_name("plot.py")), str(FOLDER / "results.json"),
                    str(FOLDER / "results.svg")], check=True)
    print(f"tables: {FOLDER / 'results.md'}; picture: {FOLDER / 'results.svg'}".replace(str(tools.ROOT) + os.sep, ""))
    held = sum(holds for _, holds in gates)
    print(f"bench: {held} of {len(gates)} gates held; " + "; ".join(f"{row[0]} {row[1]}" for row, _ in gates))
    return held == len(gates)


def bench(rounds: int, calls: int) -> bool:
    """The whole benchmark."""
    subjects = build_all()
    driver = build_driver("dev")
    figures = run_driver(driver, subjects, "time", "--rounds", str(rounds), "--calls", str(calls))
    if shutil.which("valgrind"):
        ours = our_subjects(TARGET / "lambda")
        counted = run_driver(driver, [*ours, *unconnected(ours)], "count")["instructions"]
        others = [subject for subject in subjects if subject["name"] not in OURS]
        # The peers' counts are in the hundreds of millions, where a percent is no matter, and take their time.
        figures["instructions"] = {**counted, **run_driver(driver, others, "count", "--runs", "1")["instructions"]}
    else:
        print("no valgrind here: instructions are not counted (on Debian: apt-get install valgrind)", flush=True)
    figures["sizes"] = sizes(subjects)
    (FOLDER / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    return report(figures)


def check(update: bool) -> None:
    """Counts the instructions of the functions that the local stack runs, and holds them against the baseline."""
    if shutil.which("valgrind") is None:
        print("no valgrind here: instructions are not counted (on Debian: apt-get install valgrind)", flush=True)
        return
    ours = our_subjects(cloud.LAMBDA_DIR)
    driver = build_driver("dev")
    # By themselves they must do what they are asked: what fails here is no busy machine.
    run_driver(driver, ours, "time", "--rounds", "1", "--calls", "1")
    try:
        counted = run_driver(driver, ours, "count", "--runs", "3" if update else "1")["instructions"]
    except TooBusy:
        # What the functions do is tested elsewhere; this is about how much work it is.
        print("instructions are not counted: under valgrind the functions' own timeouts struck, again and again; the machine is too busy", flush=True)
        return
    found = {f"{name}: {what}": round(count) for name, counts in sorted(counted.items()) for what, count in flat(counts)}
    key = f"{processor()}, {rustc_version()}"
    known = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    if update:
        known[key] = found
        BASELINE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        print(f"{BASELINE.relative_to(tools.ROOT)}: {len(found)} counts for {key}")
        return
    baseline = known.get(key)
    if baseline is None:
        print(f"no baseline for {key}: nothing is compared (make one: make bench-baseline)")
        return
    missed = []
    for what, count in found.items():
        before = baseline.get(what)
        change = count / before - 1 if before else 0.0
        print(f"{what:48} {count / 1e6:8.2f} M {change:+7.1%}")
        if before is None or abs(change) > TOLERANCE:
            missed.append(what)
    if missed or set(baseline) - set(found):
        raise Failure(f"more than {TOLERANCE:.0%} from tests/bench/baseline.json, or not in it: {', '.join(missed) or 'counts are gone'}; "
                      "if that is meant: make bench-baseline, and say why in the commit")


def flat(counts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Each count with its name. A first call is told with its init: alone it is the small difference of two large counts."""
    yield "init", counts["init"]
    for call, of_call in sorted(counts["calls"].items()):
        yield f"init and first call, {call}", counts["init"] + of_call["first"]
        yield f"warm call, {call}", of_call["warm"]


def processor() -> str:
    """What valgrind shows of it: code is chosen by it at run time."""
    wide = "avx2" if " avx2 " in Path("/proc/cpuinfo").read_text() else "no avx2"
    return f"{platform.machine()} ({wide})" if platform.machine() == "x86_64" else platform.machine()


def rustc_version() -> str:
    """`rustc 1.95.0`: another compiler, another baseline."""
    return " ".join(subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True, check=True, cwd=tools.ROOT).stdout.split()[:2])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("run", help="the whole benchmark")
    whole.add_argument("--rounds", type=int, default=9, help="how often each program is started (default: 9)")
    whole.add_argument("--calls", type=int, default=100, help="warm calls of each kind in a round (default: 100)")
    commands.add_parser("report", help="show the last run's figures again")
    checked = commands.add_parser("check", help="hold the instruction counts of the built functions against tests/bench/baseline.json")
    checked.add_argument("--update", action="store_true", help="write the baseline instead")
    options = parser.parse_args()
    try:
        if options.command == "check":
            check(options.update)
        elif not (report(json.loads((FOLDER / "results.json").read_text())) if options.command == "report" else bench(options.rounds, options.calls)):
            tools.fail("a gate is missed, see above")
    except Failure as failure:
        tools.fail(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
