"""The model of orders, calls and money."""
