"""The try-out: `make run`, its MongoDB, demo data and fake upstream. Not installed in production; nothing imports it
but the benchmarks and the tests.
"""
