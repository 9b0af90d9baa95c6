"""Indexes that only the staff's lists need: each serves one search or filter together with the list's order."""

from django.db import migrations

# Collection, name, keys, options. The failed requests are few: their index holds only them, and costs the rest nothing.
INDEXES = (
    ("usersNew", "staff_key_prefix", [("apiKeyPrefix", 1)], {}),
    ("usersNew", "staff_status", [("isActive", 1), ("_id", 1)], {}),
    ("usersNew", "staff_openhands_balance", [("creditsNew", 1)], {}),
    ("usersNew", "staff_ohmygpt_balance", [("credits", 1)], {}),
    ("ledger_entries", "staff_kind_time", [("kind", 1), ("createdAt", -1)], {}),
    ("ledger_entries", "staff_balance_time", [("balance", 1), ("createdAt", -1)], {}),
    ("payments", "staff_sepay_transaction", [("sepayTransactionId", 1), ("createdAt", -1)], {}),
    ("payments", "staff_discord", [("discordId", 1), ("createdAt", -1)], {}),
    ("payments", "staff_status_time", [("status", 1), ("createdAt", -1)], {}),
    ("webhook_events", "staff_event_id", [("eventId", 1), ("receivedAt", -1)], {}),
    ("webhook_events", "staff_payment", [("payment", 1), ("receivedAt", -1)], {}),
    ("webhook_events", "staff_status_time", [("status", 1), ("receivedAt", -1)], {}),
    ("request_logs", "staff_model_time", [("model", 1), ("createdAt", -1)], {}),
    ("request_logs", "staff_failed_time", [("createdAt", -1)], {"partialFilterExpression": {"isSuccess": False}}),
)


def create_indexes(apps, schema_editor):
    for collection, name, keys, options in INDEXES:
        schema_editor.get_collection(collection).create_index(keys, name=name, **options)


def drop_indexes(apps, schema_editor):
    for collection, name, _, _ in INDEXES:
        schema_editor.get_collection(collection).drop_index(name)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("payments", "0001_initial"),
        ("proxy", "0002_allow_a_price_per_upstream"),
    ]
    operations = [migrations.RunPython(create_indexes, drop_indexes)]
