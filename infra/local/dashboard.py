"""Draws the template's dashboard in the terminal, from the logs of a local stack: `make dashboard`.

The widgets are those of `DashboardBody` in infra/template.yaml. A metric widget shows the tracker's own metrics, from the summary lines; AWS's own metrics
exist on AWS only. A log widget counts as its query does, of the form `filter FIELD = "VALUE" | stats count_distinct(FIELD) by FIELD`.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from infra.local import tools

if __name__ == "__main__":
    tools.enter()

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from infra.local import cloud, settings
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack, short
from infra.local.processes import Failure

PERIODS = 20  # drawn of each metric
REFRESH_SECONDS = 2.0
WIDTH = 74  # of a widget, in columns
BARS = "▁▂▃▄▅▆▇█"
QUERY = re.compile(r'filter (\w+) = "([^"]+)" \| stats count_distinct\((\w+)\) by (\w+)')
Lines = Mapping[str, list[dict[str, Any]]]  # of each function


def widgets(template: Path = settings.TEMPLATE) -> list[dict[str, Any]]:
    """The widgets of the template's dashboard, its `${…}` left as they are (a bare one, a number in JSON, as text)."""

    class Loader(yaml.SafeLoader):
        """Reads the template; `!Sub` is its text, any other intrinsic function is nothing."""

    def sub(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
        return loader.construct_sequence(node)[0] if suffix == "Sub" and isinstance(node, yaml.SequenceNode) else None

    Loader.add_multi_constructor("!", sub)
    body: str = yaml.load(template.read_text(), Loader)["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    found: list[dict[str, Any]] = json.loads(re.sub(r": (\$\{\w+\})", r': "\1"', body))["widgets"]
    return found


def read(logs: Path) -> Lines:
    """The JSON lines in the logs of the functions, each with its time in seconds since 1970 as `at`."""
    lines: dict[str, list[dict[str, Any]]] = {function: [] for function in cloud.FUNCTIONS}
    for function, found in lines.items():
        file = logs / f"{function}.log"
        for text in file.read_text(errors="replace").splitlines() if file.exists() else []:
            with suppress(ValueError, KeyError, TypeError):  # a line that is not JSON, or not yet complete
                line = json.loads(text)
                found.append({**line, "at": datetime.fromisoformat(line["timestamp"]).timestamp()})
    return lines


def own(properties: Mapping[str, Any]) -> list[str]:
    """The tracker's own metrics of a widget."""
    return [metric[1] for metric in properties["metrics"] if metric[0] == "TopupTracker"]


def metric_rows(properties: Mapping[str, Any], lines: Lines, now: float) -> Table:
    """A row for each of the tracker's metrics: its name, the last periods as bars, the value of the current period, and the sum or maximum of all."""
    period, combine = properties["period"], max if properties["stat"] == "Maximum" else sum
    table = Table.grid(padding=(0, 2))
    for name in own(properties):
        values: dict[int, list[float]] = defaultdict(list)
        for line in (line for found in lines.values() for line in found if "_aws" in line and name in line):
            values[int(now // period) - int(line["at"] // period)].append(line[name])
        series = [combine(values[age]) if age in values else 0 for age in reversed(range(PERIODS))]
        most = max(series) or 1
        bars = "".join(BARS[int(value / most * (len(BARS) - 1))] if value else " " for value in series)
        style = "red" if series[-1] and name.startswith(("failed", "failing", "unrecognised", "overdue", "webhooks_given")) else ""
        table.add_row(name, bars, f"{series[-1]:g}", f"{'max' if combine is max else 'sum'} {combine(series):g}", style=style)
    return table


def log_rows(query: str, lines: Lines) -> Table:
    """A row for each group that the query counts, over the whole log."""
    match = QUERY.search(query)
    if match is None:
        raise Failure(f"the dashboard has a query of another form: {query}")
    field, value, counted, by = match.groups()
    groups: dict[str, set[str]] = defaultdict(set)
    for source in re.findall(r"SOURCE '\$\{(\w+)Logs\}'", query):
        for line in lines[source.lower()]:
            if line.get(field) == value and by in line:
                groups[str(line[by])].add(str(line.get(counted)))
    most = max(map(len, groups.values()), default=1)
    table = Table.grid(padding=(0, 2))
    for name, members in sorted(groups.items()):
        table.add_row(name, "█" * max(1, round(30 * len(members) / most)), str(len(members)))
    return table


def picture(stack: Stack, known: Mapping[str, str]) -> Group:
    """All widgets as they are now."""
    lines, now = read(stack.logs), time.time()
    values = json.loads(known["FUNCTION_SETTINGS"])
    panels, elsewhere = [], []
    for properties in (widget["properties"] for widget in widgets()):
        if "metrics" in properties and not own(properties):
            elsewhere.append(properties["title"])
            continue
        rows = log_rows(properties["query"], lines) if "query" in properties else metric_rows(properties, lines, now)
        limits = [f"{line['label']} {values['VENDOR_CALLS_PER_MINUTE'] if line['value'] == '${VendorCallsPerMinute}' else line['value']}"
                  for line in properties.get("annotations", {}).get("horizontal", [])]
        span = f"{PERIODS} × {properties['period']} s" if "period" in properties else "whole log"
        panels.append(Panel(rows, title=properties["title"], subtitle=", ".join([span, *limits]), width=WIDTH))
    return Group(f"{short(stack.directory)}, {time.strftime('%H:%M:%S')}; a row: metric, its last periods, the current one, all of them", Columns(panels),
                 f"AWS's own metrics, on AWS only: {'; '.join(elsewhere)}")


def main() -> None:
    """The command line. Draws until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Draw the dashboard of a local stack in the terminal.")
    parser.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="folder of the stack's files (default: .local)")
    parser.add_argument("--once", action="store_true", help="draw once and end")
    options = parser.parse_args()
    with cloud.errors_shown():
        stack, console = Stack(options.dir), Console()
        if not stack.is_up(with_sandbox=False):
            raise Failure(f"no stack runs in {short(stack.directory)}: `make up` first")
        known = stack.read_env()
        if options.once:
            console.print(picture(stack, known))
            return
        with Live(picture(stack, known), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                time.sleep(REFRESH_SECONDS)
                live.update(picture(stack, known), refresh=True)


if __name__ == "__main__":
    main()
