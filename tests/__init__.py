"""What proves the project: tests, scenarios, benchmark, model. Whatever is run of it gets the Python of `.tools/python`, here."""

from infra.local import tools

tools.enter()
