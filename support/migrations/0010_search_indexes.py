"""Indexes of what the search box looks up that no list did: amounts of payments, and banks' references."""

from django.db import migrations

INDEXES = (
    ("payments", "staff_amount_time", [("amount", 1), ("createdAt", -1)]),
    ("payments", "staff_received_time", [("receivedAmount", 1), ("createdAt", -1)]),
    ("payments", "staff_credits_time", [("credits", 1), ("createdAt", -1)]),
    ("webhook_events", "staff_reference_time", [("reference", 1), ("receivedAt", -1)]),
)


def create_indexes(apps, schema_editor):
    """Safe to repeat: an index takes minutes to build, so this may be interrupted."""
    for collection, name, keys in INDEXES:
        schema_editor.get_collection(collection).create_index(keys, name=name)


def drop_indexes(apps, schema_editor):
    for collection, name, _ in INDEXES:
        if name in schema_editor.get_collection(collection).index_information():
            schema_editor.get_collection(collection).drop_index(name)


class Migration(migrations.Migration):
    dependencies = [
        ("support", "0009_released_roles"),
        ("payments", "0009_how_pulls_went"),
    ]
    operations = [migrations.RunPython(create_indexes, drop_indexes)]
