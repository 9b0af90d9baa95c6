"""The only place that rounds, in Python and in the database."""
