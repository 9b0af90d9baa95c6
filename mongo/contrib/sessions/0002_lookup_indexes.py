"""Plain indexes beside the unique ones: the back end makes partial unique indexes, which look-ups cannot use."""

from django.db import migrations

LOOKUPS = (("django_session", "session_key"),)


def create_indexes(apps, schema_editor):
    for collection, field in LOOKUPS:
        schema_editor.get_collection(collection).create_index(field, name=f"{field}_lookup")


def drop_indexes(apps, schema_editor):
    for collection, field in LOOKUPS:
        schema_editor.get_collection(collection).drop_index(f"{field}_lookup")


class Migration(migrations.Migration):
    dependencies = [("sessions", "0001_initial")]
    operations = [migrations.RunPython(create_indexes, drop_indexes)]
