"""Measures the functions beside hello world, Rust with all defaults, Python and Node; prints tables; fails where a gate is missed. `make bench`."""

import argparse
import datetime
import json
import math
import os
import platform
import shutil
import subprocess
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from infra.local import cloud, tools
from infra.local.processes import Failure, run_command

BENCH = tools.ROOT / "tests" / "bench"
PEERS = BENCH / "peers"
PACKAGES = tools.TARGET / "bench" / "lambda"
FOLDER = tools.ROOT / ".local" / "bench"
BASELINE = BENCH / "baseline.json"
OURS = {"status": "status", "poller": "poll", "recheck": "recheck", "notify": "notify", "page": "page"}  # the job of each function
UNCONNECTED_STARTS = ("status", "poller", "recheck")  # `notify` and `page` read their secret in every start
# A start without connections, and so with the secrets in the environment.
UNCONNECTED = {"SECRET_ID": "", "TOKENS_SECRET_ID": "", "ONECLICKDZ_API_KEY": "bench-vendor-key-0123456789", "API_TOKENS": "bench-token-0123456789",
               "ONECLICKDZ_BASE_URL": "https://localhost:9/v3", "AWS_ENDPOINT_URL_DYNAMODB": "https://localhost:9",
               "AWS_ENDPOINT_URL_EVENTBRIDGE": "https://localhost:9"}
TOLERANCE = 0.10  # of the baseline; counts move by a percent or two from run to run
NO_VALGRIND = "no valgrind here: instructions are not counted (on Debian: apt-get install valgrind)"
TOO_BUSY = 3  # the driver's status if a program under valgrind was too slow for its own timeouts
SHOWN = {"hello world": "hello world", "status": "status (ours)", "Rust, all defaults": "Rust, all defaults", "Node": "Node 20", "Python": "Python 3.11"}
PANELS = [("init + first call at 128 MB, ms", "cold_wall", "{:,.0f}"), ("CPU of a warm call that asks the vendor, ms", "warm_cpu", "{:.2f}"),
          ("peak memory, MB", "peak_mb", "{:.0f}")]  # of the picture
Subject = dict[str, Any]
Figures = Mapping[str, Any]


class TooBusy(Failure):
    """The machine is too busy for valgrind now."""


def subject(name: str, job: str, *command: Path | str, folder: Path = tools.ROOT, **more: Any) -> Subject:
    """A program to measure, in the driver's words."""
    return {"name": name, "job": job, "command": [str(word) for word in command], "folder": str(folder), **more}


def our_subjects(packages: Path) -> list[Subject]:
    """The functions, as they are uploaded."""
    return [subject(name, job, packages / name / "bootstrap", ours=True, counted=True) for name, job in OURS.items()]


def build_driver() -> Path:
    """The program that measures."""
    run_command("cargo", "build", "--workspace", "--bin", "bench")
    return tools.TARGET / "debug" / "bench"


def build_all() -> list[Subject]:
    """Builds everything as it would be deployed; returns the subjects."""
    tools.ensure("bench-python", "bench-node")
    architecture, node = cloud.machine_architecture(), tools.TOOLS / "bench-node"
    cloud.build_functions(architecture, PACKAGES)
    for peer in ("hello", "rust-defaults"):
        cloud.build_release(architecture, PACKAGES, "--manifest-path", str(PEERS / peer / "Cargo.toml"),
                            environment={"CARGO_TARGET_DIR": str(PACKAGES.with_name("peers"))})
    return [
        subject("hello world", "hello", PACKAGES / "hello" / "bootstrap", counted=True), *our_subjects(PACKAGES),
        subject("Rust, all defaults", "status", PACKAGES / "rust-defaults" / "bootstrap", counted=True),
        subject("Python", "status", tools.program("bench-python", "python"), "-m", "awslambdaric", "app.handler", folder=PEERS / "python",
                environment={"PYTHONDONTWRITEBYTECODE": "1"}),
        subject("Node", "status", tools.node(), node / "dist" / "index.mjs", folder=node)]


def measure(driver: Path, subjects: list[Subject], *arguments: str) -> dict[str, Any]:
    """Runs the driver, which prints its own progress; returns its figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / "subjects.json"
    file.write_text(json.dumps(subjects, indent=1))
    done = subprocess.run([str(driver), "--subjects", str(file), "--folder", str(FOLDER), *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise (TooBusy if done.returncode == TOO_BUSY else Failure)("a program could not be measured, see above")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def rows_of_gates(figures: Figures) -> list[list[str]]:
    """One row per gate: the measure, the figure, the gate, the aim, what is reached. A figure that this machine cannot measure misses no gate."""
    times, counted, limited = figures["times"], figures.get("instructions"), not figures["without_quota"]

    def largest(table: str, what: str) -> float:
        return float(max(figures[table][name][what] for name in OURS))

    def count(call: str, when: str) -> float:
        return float(counted["status"]["calls"][call][when]) / 1e6 if counted else math.nan

    def ratio(peer: str, what: str) -> float:  # of the status function, in the call where it is largest
        return float(max(of_call[what] / times[peer]["calls"][call][what] for call, of_call in times["status"]["calls"].items()))

    gates = [
        ("init, unconnected: M instructions", 4, 2, max(counted[f"{name}, unconnected"]["init"] for name in UNCONNECTED_STARTS) / 1e6 if counted else math.nan),
        ("init CPU, connections included: × hello world", 3, 2.3, largest("times", "init_cpu") / times["hello world"]["init_cpu"]),
        ("first call, final order: M instructions", 3, 1, count("final order", "first")),
        ("warm call with check, commit and publish: M instructions", 3, 2, count("asks the vendor", "warm")),
        ("warm call, final order: M instructions", 0.7, 0.4, count("final order", "warm")),
        *((f"init + first call at 128 MB, relative to {peer}", 1 / gate, 1 / aim, ratio(peer, "cold_wall") if limited else math.nan)
          for peer, gate, aim in (("Python", 30, 100), ("Node", 30, 100), ("Rust, all defaults", 10, 50))),
        *((f"warm CPU, relative to {peer}", 1 / gate, 1 / aim, ratio(peer, "warm_cpu")) for peer, gate, aim in (("Python", 6, 10), ("Node", 10, 20))),
        ("peak memory: MB", 12, 8, largest("times", "peak_mb")),
        ("binary: MB", 7, 5, largest("sizes", "binary")),
        ("zip: MB", 3.2, 2.3, largest("sizes", "zip"))]
    return [[measured, *("–" if math.isnan(number) else f"1/{1 / number:.0f}" if gate < 0.2 else f"{number:.2f}" for number in (value, gate, aim)),
             "not measured here" if math.isnan(value) else "MISSED" if value > gate else "aim" if value <= aim else "gate"]
            for measured, gate, aim, value in gates]


def markdown(columns: str, rows: list[list[str]]) -> str:
    """A table for the terminal and the page."""
    table = Table(*columns.split("|"), box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row)
    console = Console(width=300, color_system=None)
    with console.capture() as captured:
        console.print(table, highlight=False)
    return captured.get().strip("\n ").replace(" \n", "\n")


def draw_times(times: Mapping[str, Any], file: Path) -> None:
    """Three panels of horizontal bars with their values, on logarithmic scales because they differ by factors of hundreds."""
    from matplotlib.figure import Figure  # here, because it takes seconds to load

    figure = Figure(figsize=(11, 2.6), layout="constrained")
    for axes, (title, measure, form) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        calls = {name: times[name]["calls"].get("asks the vendor") or times[name]["calls"]["hello"] for name in SHOWN}
        values = [times[name].get(measure, calls[name].get(measure)) for name in reversed(SHOWN)]
        axes.barh(list(SHOWN.values())[::-1], values, color=["#1b7f5a" if name == "status" else "#b0b7bd" for name in reversed(SHOWN)])
        axes.set(xscale="log", xlim=(min(values) / 2.5, max(values) * 6))
        axes.set_title(title, fontsize=10, loc="left")
        for index, value in enumerate(values):
            axes.text(value * 1.12, index, form.format(value), va="center", fontsize=9)
        axes.xaxis.set_visible(False)
        axes.tick_params(length=0)
        axes.set_frame_on(False)
    figure.savefig(file, metadata={"Date": None})


def report(figures: Figures) -> bool:
    """Prints the tables, writes them as a page with a picture; returns whether all gates hold."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    held = rows_of_gates(figures)
    times = [[name, call, f"{found['init_cpu']:.1f}", f"{of_call['first_cpu']:.2f}", "–" if figures["without_quota"] else f"{of_call['cold_wall']:.1f}",
              f"{of_call['warm_cpu']:.2f}", f"{of_call['warm_p50']:.2f} / {of_call['warm_p99']:.2f}", f"{found['peak_mb']:.1f}",
              " / ".join(f"{size:.2f}" for size in figures["sizes"].get(name, {}).values()) or "–"]
             for name, found in figures["times"].items() for call, of_call in found["calls"].items()]
    counts = [[name, call, *(f"{number / 1e6:.2f}" for number in numbers)] for name, found in (figures.get("instructions") or {}).items()
              for call, numbers in (("init", [found["init"]]), *((call, [of_call["first"], of_call["warm"]]) for call, of_call in found["calls"].items()))]
    page = "\n\n".join([
        f"`make bench`, {datetime.date.today().isoformat()}, {os.cpu_count()} cores of {[*models, platform.machine()][0]}, {platform.system()} "
        f"{platform.release().partition('-')[0]}. Medians of {figures['rounds']} rounds; {figures['calls']} warm calls of each kind in a round.",
        markdown("|call|init CPU, ms|first call CPU, ms|init + first call at 128 MB, ms|warm CPU, ms|warm p50 / p99, ms|peak MB|binary / zip, MB", times),
        "Instructions, millions:", markdown("|call|first|warm", counts), markdown("measure|figure|gate|aim|reached", held)])
    print(page)
    (FOLDER / "results.md").write_text(page + "\n")
    draw_times(figures["times"], FOLDER / "results.svg")
    missed = sum(row[-1] == "MISSED" for row in held)
    print(f"\ntables: {os.path.relpath(FOLDER / 'results.md')}; picture: {os.path.relpath(FOLDER / 'results.svg')}\n"
          f"bench: {len(held) - missed} of {len(held)} gates held; " + "; ".join(f"{row[0]} {row[1]}" for row in held))
    return missed == 0


def bench(rounds: int, calls: int) -> bool:
    """The whole benchmark; returns whether all gates hold."""
    subjects, driver = build_all(), build_driver()
    figures = measure(driver, subjects, "time", "--rounds", str(rounds), "--calls", str(calls))
    if shutil.which("valgrind"):
        ours, others = our_subjects(PACKAGES), [one for one in subjects if one["name"] not in OURS]
        starts = [{**one, "name": f"{one['name']}, unconnected", "job": "start", "environment": UNCONNECTED}
                  for one in ours if one["name"] in UNCONNECTED_STARTS]
        # One run is enough for the alternatives: their counts are in the hundreds of millions.
        figures["instructions"] = {**measure(driver, [*ours, *starts], "count")["instructions"],
                                   **measure(driver, others, "count", "--runs", "1")["instructions"]}
    else:
        print(NO_VALGRIND, flush=True)
    programs = {one["name"]: Path(one["command"][0]).read_bytes() for one in subjects if one.get("counted")}
    figures["sizes"] = {name: {"binary": len(program) / 1e6, "zip": len(zlib.compress(program)) / 1e6} for name, program in programs.items()}
    (FOLDER / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    return report(figures)


def check(update: bool) -> None:
    """Counts the instructions of the functions that the local stack runs, and compares them with the baseline or writes it."""
    if shutil.which("valgrind") is None:
        print(NO_VALGRIND, flush=True)
        return
    ours, driver = our_subjects(cloud.LAMBDA_DIR), build_driver()
    measure(driver, ours, "time", "--rounds", "1", "--calls", "1")  # a failure without valgrind is no busy machine
    try:
        check_counts(lambda runs: count_instructions(driver, ours, runs), update)
    except TooBusy:
        print("instructions are not counted: the functions' own timeouts expired under valgrind, repeatedly; the machine is too busy", flush=True)


def count_instructions(driver: Path, ours: list[Subject], runs: int) -> dict[str, int]:
    """By function and call: the median of `runs`."""
    found: dict[str, int] = {}
    for name, one in sorted(measure(driver, ours, "count", "--runs", str(runs))["instructions"].items()):
        found[f"{name}: init"] = round(one["init"])
        for call, of_call in sorted(one["calls"].items()):
            # With init: a first call alone is the small difference of two large counts.
            found[f"{name}: init and first call, {call}"] = round(one["init"] + of_call["first"])
            found[f"{name}: warm call, {call}"] = round(of_call["warm"])
    return found


def check_counts(count: Callable[[int], dict[str, int]], update: bool) -> None:
    """Compares what `count` returns for a number of runs with the baseline, or writes it."""
    # Libraries choose code by the processor at run time; another compiler makes other code.
    processor = platform.machine() + (" (avx2)" if " avx2 " in Path("/proc/cpuinfo").read_text() else " (no avx2)") * (platform.machine() == "x86_64")
    compiler = " ".join(subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True, check=True, cwd=tools.ROOT).stdout.split()[:2])
    key = f"{processor}, {compiler}"
    known = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    found = count(3 if update else 1)
    if update:
        BASELINE.write_text(json.dumps({**known, key: found}, indent=1, sort_keys=True) + "\n")
        print(f"{BASELINE.relative_to(tools.ROOT)}: {len(found)} counts for {key}")
        return
    if key not in known:
        print(f"no baseline for {key}: nothing is compared (make one: make bench-baseline)")
        return
    missed = compare(known[key], found)
    if missed:
        # A call of the SDK that was repeated, since its answer came late, counts too.
        print(f"more than {TOLERANCE:.0%} from the baseline: counting again, three times each", flush=True)
        try:
            missed = compare(known[key], count(3))
        except TooBusy:
            print("the machine is too busy to count again: the first counts stand", flush=True)
    if missed:
        raise Failure(f"more than {TOLERANCE:.0%} from tests/bench/baseline.json, or not in both: {', '.join(missed)}; "
                      "if that is meant: make bench-baseline, and the reason in the commit")


def compare(baseline: dict[str, int], found: dict[str, int]) -> list[str]:
    """Prints each count beside its baseline; the names of those that differ by more than the tolerance, or are not in both."""
    missed = sorted(set(baseline) - set(found))
    for what, count in found.items():
        change = count / baseline[what] - 1 if what in baseline else math.inf
        print(f"{what:48} {count / 1e6:8.2f} M {change:+7.1%}")
        missed += [what] if abs(change) > TOLERANCE else []
    return missed


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("run", "check"), help="the whole benchmark, or the built functions' instruction counts against the baseline")
    parser.add_argument("--rounds", type=int, default=9, help="how often `run` starts each program (default: 9)")
    parser.add_argument("--calls", type=int, default=100, help="warm calls of each kind in a round of `run` (default: 100)")
    parser.add_argument("--update", action="store_true", help="`check` writes the baseline instead")
    options = parser.parse_args()
    with cloud.errors_shown():
        if options.command == "check":
            check(options.update)
        elif not bench(options.rounds, options.calls):
            raise Failure("a gate is missed, see above")


if __name__ == "__main__":
    main()
