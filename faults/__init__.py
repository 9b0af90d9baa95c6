"""`make faults`: the whole platform under load while its processes and its database are killed and frozen.

Its own books are compared with the database after every round. docs/reliability.md says what is done and asserted.
"""
