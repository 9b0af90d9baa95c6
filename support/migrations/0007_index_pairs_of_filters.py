"""Indexes for two filters at once, so that a pair that finds nothing does not read all that one of them finds.

The request log is written with every request: each new index takes the place of one that it covers.
"""

from django.db import migrations

IF_FAILED = {"partialFilterExpression": {"isSuccess": False}}
NEW = (
    ("ledger_entries", "staff_balance_kind_time", [("balance", 1), ("kind", 1), ("createdAt", -1)], {}),
    ("request_logs", "staff_upstream_model_time", [("creditType", 1), ("model", 1), ("createdAt", -1)], {}),
    # It begins with what is always the same, as no index without a condition on its first field rivals one with.
    ("request_logs", "staff_failed", [("isSuccess", 1), ("createdAt", -1), ("creditType", 1), ("model", 1)], IF_FAILED),
)
OLD = (
    ("request_logs", "staff_model_time", [("model", 1), ("createdAt", -1)], {}),
    ("request_logs", "staff_failed_time", [("createdAt", -1)], IF_FAILED),
)


def replace(schema_editor, new, old):
    """Safe to repeat: an index takes minutes to build, so this may be interrupted."""
    for collection, name, keys, options in new:
        schema_editor.get_collection(collection).create_index(keys, name=name, **options)
    for collection, name, _, _ in old:
        if name in schema_editor.get_collection(collection).index_information():
            schema_editor.get_collection(collection).drop_index(name)


def forwards(apps, schema_editor):
    replace(schema_editor, NEW, OLD)


def backwards(apps, schema_editor):
    replace(schema_editor, OLD, NEW)


class Migration(migrations.Migration):
    dependencies = [("support", "0006_second_factor")]
    operations = [migrations.RunPython(forwards, backwards)]
