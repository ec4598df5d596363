#!/usr/bin/env python3
"""Installs the tools of this project into `.tools/` of the checkout; nothing is installed globally.

Each tool is pinned by a file in `infra/local/pins/`. A stamp with the hash of that file is written last,
so that an unchanged tool is left alone and a half-finished one is made anew.

Only the standard library is used here: this file runs before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, NoReturn, Optional

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")  # where cargo puts what it builds
PINS = ROOT / "infra" / "local" / "pins"
OLDEST_PYTHON = (3, 11)  # what the pinned packages need
# Where a tool's pins are, if not in a file of its name.
PEERS = ROOT / "tests" / "bench" / "peers"
PINNED_BY = {"asl": PINS / "asl" / "package-lock.json", "bench-node": PEERS / "node" / "package-lock.json",
             "bench-python": PEERS / "python" / "requirements.txt"}
COMPILED_TOOLS = {"cargo-deny": "0.20.2", "cargo-fuzz": "0.13.2"}  # from crates.io, by version

# Python tools: a virtual environment each, since their needs contradict each other.
PYTHON_TOOLS = {
    "aws": "the local AWS",
    "cargo-lambda": "builds the functions",
    "sam": "lints the template",
    "deploy": "deploys, and runs these scripts",
    "node": "runs the state machine's linter",
    "node-20": "runs the benchmark's Node peer",
    "bench-python": "the benchmark's Python peer",
    "plot": "draws pictures",
}
OTHER_TOOLS = {
    "asl": "lints the state machine",
    "bench-node": "the benchmark's Node peer",
    "cargo-deny": "audits the dependencies; compiled, takes minutes",
    "cargo-fuzz": "fuzzes what is parsed; compiled",
}
EVERYDAY = ("deploy", "cargo-lambda", "aws", "sam", "asl")


def fail(message: str) -> NoReturn:
    """Ends the program with a message that names what is wrong."""
    sys.exit(f"error: {message}")


def program(tool: str, name: str) -> Path:
    """Path of a program that a tool brings."""
    return TOOLS / tool / "bin" / name


def path_with(*tools: str) -> str:
    """A PATH on which the programs of these tools come first."""
    return os.pathsep.join([str(TOOLS / tool / "bin") for tool in tools] + [os.environ.get("PATH", os.defpath)])


def ensure(*tools: str) -> None:
    """Installs what is missing or out of date of the named tools."""
    if all(_is_current(tool) for tool in tools):
        return
    TOOLS.mkdir(exist_ok=True)
    with _lock():
        for tool in tools:
            if not _is_current(tool):
                _install(tool)


def enter(*tools: str) -> None:
    """Ensures the tools, then runs the calling script again under the Python that has boto3 and rich."""
    ensure("deploy", *tools)
    if Path(sys.prefix).resolve() != (TOOLS / "deploy").resolve():
        python = str(program("deploy", "python"))
        os.execv(python, [python, *sys.orig_argv[1:]])


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Two commands at once must not install into the same place."""
    with (TOOLS / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("tools: another command is installing them, waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fingerprint(tool: str) -> str:
    """What an installed tool depends on: its pins, and the Python it was made with."""
    if tool in COMPILED_TOOLS:
        return COMPILED_TOOLS[tool]
    sources = sorted(_pins(tool).parent.glob("*.mjs")) if tool == "bench-node" else []  # it is bundled
    text = b"".join(file.read_bytes() for file in [_pins(tool), *sources])
    return hashlib.sha256(text + f"{sys.version_info[:2]} {TOOLS}".encode()).hexdigest()


def _pins(tool: str) -> Path:
    return PINNED_BY.get(tool, PINS / f"{tool}.txt")


def node_20() -> Optional[str]:
    """Node 20 of the PATH, which is what the benchmark's peer is for; nothing if there is another, or none."""
    found = shutil.which("node")
    if found is None or not subprocess.run([found, "--version"], stdout=subprocess.PIPE, text=True).stdout.startswith("v20."):
        return None
    return found


def _stamp(tool: str) -> Path:
    return TOOLS / tool / ".stamp"


def _is_current(tool: str) -> bool:
    stamp = _stamp(tool)
    return stamp.is_file() and stamp.read_text() == _fingerprint(tool)


def _install(tool: str) -> None:
    about = {**PYTHON_TOOLS, **OTHER_TOOLS}[tool]
    print(f"tools: installing {tool} ({about}) ...", flush=True)
    started = time.monotonic()
    home = TOOLS / tool
    shutil.rmtree(home, ignore_errors=True)
    if tool == "asl":
        _install_npm(home, PINS / "asl", "--omit=dev")
    elif tool == "bench-node":
        environment = _install_npm(home, PEERS / "node")
        for source in PEERS.joinpath("node").glob("*.mjs"):
            shutil.copy(source, home)
        _run(["npm", "run", "--silent", "build"], cwd=home, env=environment)
        if node_20() is None and not _is_current("node-20"):
            _install("node-20")
    elif tool in COMPILED_TOOLS:
        _run(["cargo", "install", "--locked", "--root", str(home), tool, "--version", COMPILED_TOOLS[tool]])
    else:
        _install_python_tool(tool, home)
    _stamp(tool).write_text(_fingerprint(tool))
    print(f"tools: {tool} is ready after {time.monotonic() - started:.0f} s", flush=True)


def _install_python_tool(tool: str, home: Path) -> None:
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        fail(f"Python {wanted} or newer is needed, this is {sys.version.split()[0]}; name another: make PYTHON=python{wanted} ...")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    except subprocess.CalledProcessError:
        fail("python3 could not make a virtual environment (on Debian: apt-get install python3-venv)")
    # One pip command per tool: a later one could break what an earlier one pinned.
    _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
          "--requirement", str(_pins(tool))])


def _install_npm(home: Path, pinned: Path, *options: str) -> dict[str, str]:
    """What the package-lock.json of a folder names; answers the environment that has a Node."""
    environment = dict(os.environ)
    if shutil.which("node") is None or shutil.which("npm") is None:
        if not _is_current("node"):
            _install("node")
        environment["PATH"] = path_with("node")
    home.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(pinned / name, home)
    _run(["npm", "ci", *options, "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"], cwd=home, env=environment)
    return environment


def _run(command: list[str], **options: object) -> None:
    try:
        subprocess.run(command, check=True, **options)  # type: ignore[call-overload]
    except FileNotFoundError:
        fail(f"{command[0]} is not installed, and is needed for: {' '.join(command)}")
    except subprocess.CalledProcessError as error:
        fail(f"this ended with status {error.returncode}: {' '.join(command)}")


def main() -> None:
    """Command line: installs the named tools, or those of everyday work."""
    parser = argparse.ArgumentParser(description="Install the pinned tools into .tools/")
    parser.add_argument("tools", nargs="*", metavar="TOOL",
                        help=f"one of {', '.join([*PYTHON_TOOLS, *OTHER_TOOLS])}; default: {' '.join(EVERYDAY)}")
    chosen = parser.parse_args().tools or EVERYDAY
    for tool in chosen:
        if tool not in PYTHON_TOOLS and tool not in OTHER_TOOLS:
            parser.error(f"there is no tool {tool!r}")
    ensure(*chosen)


if __name__ == "__main__":
    main()
