"""Measurements against the plain reference of the tests; see README.md."""
