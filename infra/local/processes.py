"""Servers in the background, on Linux. A pid and a start time identify a process, so a reused pid is never mistaken for a server."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.local import tools

STOP_SECONDS = 15.0


class Failure(Exception):
    """An expected failure. Its message is shown without a traceback."""


def run_command(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command in the checkout, with the programs of `.tools/python` in front; fails if the command fails."""
    print(f"$ {' '.join(command).replace(f'{tools.ROOT}/', '')}", flush=True)
    try:
        code = subprocess.run(command, cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with(), **(environment or {})}).returncode
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed") from None
    if code != 0:
        raise Failure(f"status {code}: {' '.join(command)}")


def wait_until(what: str, condition: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
    """Waits until the condition holds; fails after the given time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def start_time(pid: int) -> str | None:
    """The start time of a living process, in clock ticks since boot; None if it has ended."""
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)  # reaps an ended child of this process
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else fields[18]


def processor_time(pid: int) -> str:
    """The processor time that a process has used, in nanoseconds; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/schedstat").read_text().split()[0]
    except OSError:
        return ""


def _end(what: str, running: Callable[[], list[int]], patience: float) -> None:
    """Ends processes: TERM first, KILL for those that still run after the given time."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, STOP_SECONDS)):
        for pid in running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(Failure):
            wait_until(what, lambda: not running(), seconds)
            return
    raise Failure(f"cannot end {what}")


class Server:
    """One server of a stack. Its pid file outlives the command that started the server."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.pid_file = directory / f"{name}.pid"
        self.log = directory / "logs" / f"{name}.log"

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Starts the server with exactly this environment; appends its output to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=dict(environment), cwd=tools.ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        self.pid_file.write_text(f"{process.pid} {start_time(process.pid)}")

    def pid(self) -> int | None:
        """The server's pid; None if it does not run."""
        try:
            pid, started = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
        """Waits until the condition holds. Fails when the server ends or the time is over, and shows the end of the server's log."""

        def ready() -> bool:
            if condition():
                return True
            if self.pid() is None:
                raise Failure(f"{self.name} ended while starting")
            return False

        try:
            wait_until(f"{self.name}: {what}", ready, seconds, every)
        except Failure as failure:
            last_lines = self.log.read_text(errors="replace").splitlines()[-8:]
            raise Failure("\n    ".join([f"{failure}; the end of {self.log}:", *(line[:500] for line in last_lines)])) from None

    def stop(self) -> None:
        """Ends the server."""
        _end(self.name, lambda: [pid] if (pid := self.pid()) else [], STOP_SECONDS)
        self.pid_file.unlink(missing_ok=True)


def programs_in(directory: Path) -> list[int]:
    """The pids of the living processes whose program is in this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # a process can end at any moment
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(f"{directory}{os.sep}".encode()):
                found.append(int(entry.name))
    return [pid for pid in found if start_time(pid)]


def stop_programs_in(directory: Path) -> None:
    """Ends the processes whose program is in this directory, then removes the directory. A killed local AWS leaves its functions running."""
    _end(f"the programs in {directory}", lambda: programs_in(directory), 3.0)
    shutil.rmtree(directory, ignore_errors=True)
