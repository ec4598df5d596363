"""What proves the project: tests, scenarios, benchmark, model."""
