"""Counts of wrong passwords are forgotten after a day."""

from django.db import migrations


def create_index(apps, schema_editor):
    schema_editor.get_collection("login_attempts").create_index("lastAt", name="forget", expireAfterSeconds=86400)


def drop_index(apps, schema_editor):
    schema_editor.get_collection("login_attempts").drop_index("forget")


class Migration(migrations.Migration):
    dependencies = [("support", "0004_index_payments_by_day_paid")]
    operations = [migrations.RunPython(create_index, drop_index)]
