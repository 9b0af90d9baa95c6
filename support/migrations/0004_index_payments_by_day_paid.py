"""The dashboard counts what was paid on a day."""

from django.db import migrations


def create_index(apps, schema_editor):
    schema_editor.get_collection("payments").create_index([("completedAt", 1)], name="staff_paid")


def drop_index(apps, schema_editor):
    schema_editor.get_collection("payments").drop_index("staff_paid")


class Migration(migrations.Migration):
    dependencies = [("support", "0003_daily_figures")]
    operations = [migrations.RunPython(create_index, drop_index)]
