"""Timed measurements, kept out of the tests. Each prints a table and writes JSON; docs/benchmarks.md says how to read them."""
