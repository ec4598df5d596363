"""Runs of many orders on a local stack."""
