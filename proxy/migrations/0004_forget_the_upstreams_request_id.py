"""The field was never written. Only Django's picture of the model changes: documents stay as they are."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("proxy", "0003_idempotent_requests")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name="requestlog", name="upstream_request_id")]
        ),
    ]
