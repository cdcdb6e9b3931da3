"""Drivers' own test suites, run against PostgreSQL directly and through the gateway: `make test-drivers`.

What a suite finds without the gateway is the measure. A test that passes there and not behind the gateway is
a difference; each has its reason in differences.yaml, which only shrinks.
"""
