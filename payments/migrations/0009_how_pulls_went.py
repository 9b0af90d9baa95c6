from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0008_who_works_on_an_event"),
    ]

    operations = [
        migrations.AddField(
            model_name="pullstate",
            name="succeeded_at",
            field=models.DateTimeField(db_column="succeededAt", null=True),
        ),
        migrations.AddField(
            model_name="pullstate",
            name="failing_since",
            field=models.DateTimeField(
                db_column="failingSince", help_text="The first failure after the last success.", null=True
            ),
        ),
        migrations.AddField(
            model_name="pullstate",
            name="error",
            field=models.CharField(help_text="What the latest failure said.", max_length=500, null=True),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(fields=["provider", "source", "-received_at"], name="webhook_event_source"),
        ),
    ]
