"""Settings that the caller has in his environment, as parameters of the template."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Mapping

import yaml

# The settings of the functions, and those of the deployment itself. POLL_DEADLINE is the parameter PollDeadline.
OF_THE_FUNCTIONS = (
    "ONECLICKDZ_BASE_URL", "VENDOR_CALLS_PER_MINUTE", "VENDOR_CALLS_BURST", "LIST_CHECKS", "LIST_RECHECK_INTERVAL", "POLL_SCHEDULE_MOBILE", "POLL_SCHEDULE_INTERNET",
    "POLL_DEADLINE", "RECHECK_QUEUED", "RECHECK_UNCERTAIN", "RECHECK_DELAYED", "RECHECK_CARD", "RECHECK_NOT_FOUND",
    "NOT_FOUND_GRACE", "OVERDUE_QUEUED", "OVERDUE_UNCERTAIN", "OVERDUE_DELAYED", "OVERDUE_NOT_FOUND",
    "RECHECK_REFUNDED", "RETRY_AFTER_FAILURE", "REVIEW_FAILURES", "REVIEW_FAILING_FOR", "RECHECK_FAILING", "API_TOKENS",
)
OF_THE_DEPLOYMENT = ("STATE_MACHINE_TYPE", "ARCHITECTURE", "LOG_LEVEL", "LOG_RETENTION_DAYS", "ALARM_TOPIC_ARN")


def parameter_name(setting: str) -> str:
    """The template's name of a setting."""
    return "".join(word.capitalize() for word in setting.split("_"))


def declared(template: Path) -> dict[str, Any]:
    """The template's parameters, with their defaults."""
    class Loader(yaml.SafeLoader):
        """Reads the template without understanding its intrinsic functions."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    parameters = yaml.load(template.read_text(), Loader)["Parameters"]  # noqa: S506 - a subclass of the safe loader
    return {name: about.get("Default") for name, about in parameters.items()}


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment less everything that would set up a stack in another way: tests and demo bring their own settings."""
    ours = {*OF_THE_FUNCTIONS, *OF_THE_DEPLOYMENT, "ONECLICKDZ_API_KEY", "SANDBOX_FLAGS"}
    return {name: value for name, value in environment.items() if name not in ours}


def from_environment(environment: Mapping[str, str], template: Path) -> dict[str, str]:
    """The parameters that the caller has set; an empty value counts as not set. Says which settings have no effect."""
    known = declared(template)
    chosen = {setting: environment[setting] for setting in OF_THE_FUNCTIONS + OF_THE_DEPLOYMENT if environment.get(setting)}
    unknown = [setting for setting in chosen if parameter_name(setting) not in known]
    if unknown:
        print(f"warning: no effect, since the template has no parameter for it: {', '.join(unknown)}", file=sys.stderr, flush=True)
    return {parameter_name(setting): value for setting, value in chosen.items() if setting not in unknown}
