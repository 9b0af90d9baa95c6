"""Which events ever waited for staff, and when money went back: for the owner's page."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0009_how_pulls_went")]

    operations = [
        migrations.AddField(
            model_name="webhookevent",
            name="needed_review",
            field=models.BooleanField(
                db_column="neededReview",
                default=False,
                editable=False,
                help_text="Whether it has ever waited for review, whatever became of it; absent in old documents.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="webhookevent",
            name="gave_up",
            field=models.BooleanField(
                db_column="gaveUp",
                default=False,
                editable=False,
                help_text="The same for given up.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("needed_review", True)),
                fields=["needed_review", "-received_at"],
                name="webhook_event_needed",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("gave_up", True)), fields=["gave_up", "-received_at"], name="webhook_event_gave_up"
            ),
        ),
        migrations.AddIndex(
            model_name="reversal",
            index=models.Index(fields=["occurred_at"], name="reversal_time"),
        ),
    ]
