from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0005_charges"),
    ]

    operations = [
        migrations.AlterField(
            model_name="reversal",
            name="occurred_at",
            field=models.DateTimeField(db_column="occurredAt", help_text="The provider's time of the newest report."),
        ),
        migrations.AlterField(
            model_name="reversal",
            name="state",
            field=models.CharField(
                choices=[
                    ("notice", "Inquiry"),
                    ("closed", "Inquiry closed"),
                    ("counted", "Reversed"),
                    ("cancelled", "Reinstated"),
                ],
                max_length=10,
            ),
        ),
    ]
