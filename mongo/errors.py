"""The errors that say that the database failed."""

from django.db import DatabaseError
from pymongo.errors import PyMongoError

DATABASE_FAILURES = (DatabaseError, PyMongoError)
"""What a failing database raises, through the ORM and through the driver: `except DATABASE_FAILURES`."""
