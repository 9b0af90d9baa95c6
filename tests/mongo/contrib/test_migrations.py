"""Migrations of collections as big as live ones are."""

import pytest
from django.db import connection
from pymongo.errors import NetworkTimeout

from mongo.backend.base import DatabaseWrapper


@pytest.mark.django_db
def test_a_migration_waits_longer_than_a_request_does() -> None:
    connection.database["usersNew"].insert_one({"_id": "alice"})
    settings = connection.settings_dict
    impatient = DatabaseWrapper({**settings, "OPTIONS": {**settings["OPTIONS"], "socketTimeoutMS": 100}}, "impatient")
    slow = {"$where": "sleep(250) || true"}
    try:
        with pytest.raises(NetworkTimeout):
            impatient.get_collection("usersNew").find_one(slow)
        with impatient.schema_editor() as editor:
            assert editor.get_collection("usersNew").find_one(slow)
    finally:
        impatient.close()
