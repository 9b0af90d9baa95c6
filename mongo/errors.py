"""The errors that say that the database failed, and that a document cannot be read."""

from django.db import DatabaseError
from pymongo.errors import PyMongoError

DATABASE_FAILURES = (DatabaseError, PyMongoError)
"""What a failing database raises, through the ORM and through the driver: `except DATABASE_FAILURES`."""


class UnreadableDocument(Exception):
    """A document holds in a field what nobody can read: it alone is refused. `str(error)` says which field."""
