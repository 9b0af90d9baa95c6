"""The figures of days of another time zone have longer keys. Nothing in the database changes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("support", "0013_backup_codes_and_saved_filters")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="dailyfigures",
                    name="day",
                    field=models.CharField(db_column="_id", max_length=80, primary_key=True, serialize=False),
                )
            ]
        )
    ]
