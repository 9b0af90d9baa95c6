"""What an audit entry is about, by which the history of a thing is found. Entries that were written before lack it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("support", "0011_filter_indexes")]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="thing",
            field=models.CharField(
                default=None,
                editable=False,
                help_text="What `support/audit/things.py` calls it.",
                max_length=800,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="part",
            field=models.CharField(
                default=None, editable=False, help_text="Which API key of it.", max_length=100, null=True
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry", index=models.Index(fields=["thing", "-at"], name="audit_thing_time")
        ),
    ]
