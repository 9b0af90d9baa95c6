from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0007_reports_of_one_transfer"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookevent",
            name="assigned_to",
            field=models.CharField(
                blank=True,
                db_column="assignedTo",
                help_text="Who works on it.",
                max_length=150,
                null=True,
                verbose_name="taken by",
            ),
        ),
    ]
