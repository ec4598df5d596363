"""Servers in the background: started in a session of their own, found again by pid and start time, stopped with a bound."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Mapping, Optional

STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[2]


class Failure(Exception):
    """Something did not work; the message says what, and is shown as it is."""


def wait_until(what: str, condition: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
    """Waits until the condition holds, or fails after the bound."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def start_time(pid: int) -> Optional[str]:
    """When a living process began, in the system's own words: pid and start time together name one process for good."""
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours that has ended must not count as alive
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            state, *fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state == "Z" else fields[18]
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.split(None, 1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


def processor_time(pid: int) -> str:
    """What a process has used of the processor, in the system's own words; where there is no /proc, nothing."""
    try:
        return Path(f"/proc/{pid}/schedstat").read_text().split()[0]
    except (OSError, IndexError):
        return ""


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Server:
    """One server of a stack. Its pid file outlives the command that started it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.pid_file = directory / f"{name}.pid"
        self.log = directory / "logs" / f"{name}.log"

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Starts it with exactly this environment; its output goes to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                process = subprocess.Popen(command, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=subprocess.STDOUT, start_new_session=True)
            except OSError as error:
                raise Failure(f"{self.name} cannot be started: {error}") from None
        self.pid_file.write_text(json.dumps({"pid": process.pid, "started": start_time(process.pid)}))

    def pid(self) -> Optional[int]:
        """Its pid if it runs; a recycled pid is not taken for it."""
        try:
            known = json.loads(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        alive = known["started"] is not None and start_time(known["pid"]) == known["started"]
        return known["pid"] if alive else None

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
        """Waits for something it does; fails at once when it ends, and shows the end of its log."""
        def ready() -> bool:
            if condition():
                return True
            if self.pid() is None:
                raise Failure(f"{self.name} ended while starting")
            return False
        try:
            wait_until(f"{self.name}: {what}", ready, seconds, every)
        except Failure as failure:
            raise Failure(f"{failure}\n{last_lines(self.log)}") from None

    def stop(self) -> None:
        """Asks it to end (TERM), waits, and ends it by force only if it does not."""
        pid = self.pid()
        if pid is not None:
            _signal(pid, signal.SIGTERM)
            try:
                wait_until(f"{self.name} to end", lambda: self.pid() is None, STOP_SECONDS)
            except Failure:
                _signal(pid, signal.SIGKILL)
                wait_until(f"{self.name} to end by force", lambda: self.pid() is None, STOP_SECONDS)
        self.pid_file.unlink(missing_ok=True)


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, indented, under its name."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return "\n".join([f"the end of {log}:", *(f"    {line[:500]}" for line in lines or ["(nothing)"])])


def _running_programs() -> list[tuple[int, str]]:
    """Pid and program of every process."""
    if Path("/proc/self/cmdline").exists():
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    found.append((int(entry.name), (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")))
                except OSError:
                    continue
        return found
    shown = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True).stdout
    return [(int(pid), command) for pid, _, command in (line.strip().partition(" ") for line in shown.splitlines())]


def programs_in(directory: Path) -> list[int]:
    """The pids of all living processes whose program lies in this directory: running functions."""
    return [pid for pid, program in _running_programs() if program.startswith(f"{directory}{os.sep}") and start_time(pid)]


def stop_programs_in(directory: Path) -> None:
    """Ends every process whose program lies in this directory: functions that a killed local AWS left behind."""
    for name, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, STOP_SECONDS)):
        for pid in programs_in(directory):
            _signal(pid, name)
        try:
            wait_until(f"programs in {directory} to end", lambda: not programs_in(directory), seconds)
            break
        except Failure:
            if name == signal.SIGKILL:
                raise
    shutil.rmtree(directory, ignore_errors=True)
