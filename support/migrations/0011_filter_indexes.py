"""Indexes of more filters of the payments and the requests, each together with the list's order.

The request log is written with every request: its new indexes hold only those that failed, or cost more than they held.
"""

from django.db import migrations

IF_FAILED = {"partialFilterExpression": {"isSuccess": False}}
IF_UNCOLLECTED = {"partialFilterExpression": {"uncollected": {"$gt": 0}}}
# What stands behind the order lets other filters be judged in the index.
OTHERS = [("creditType", 1), ("model", 1)]
INDEXES = (
    ("payments", "staff_flag_time", [("flags", 1), ("createdAt", -1)], {}),
    ("payments", "staff_provider_time", [("provider", 1), ("createdAt", -1)], {}),
    ("payments", "staff_method_time", [("provider", 1), ("paymentMethod", 1), ("createdAt", -1)], {}),
    ("payments", "staff_bonus_time", [("bonusPercent", 1), ("createdAt", -1)], {}),
    ("request_logs", "staff_failed_code", [("statusCode", 1), ("createdAt", -1), *OTHERS], IF_FAILED),
    ("request_logs", "staff_uncollected", [("uncollected", 1), ("createdAt", -1), *OTHERS], IF_UNCOLLECTED),
)


def create_indexes(apps, schema_editor):
    """Safe to repeat: an index takes minutes to build, so this may be interrupted."""
    for collection, name, keys, options in INDEXES:
        schema_editor.get_collection(collection).create_index(keys, name=name, **options)


def drop_indexes(apps, schema_editor):
    for collection, name, _, _ in INDEXES:
        if name in schema_editor.get_collection(collection).index_information():
            schema_editor.get_collection(collection).drop_index(name)


class Migration(migrations.Migration):
    dependencies = [("support", "0010_search_indexes"), ("proxy", "0002_allow_a_price_per_upstream")]
    operations = [migrations.RunPython(create_indexes, drop_indexes)]
