from datetime import UTC, datetime

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_index_what_has_expired"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="review_since",
            field=models.DateTimeField(
                blank=True,
                db_column="reviewSince",
                editable=False,
                help_text="Since when it is refused because its requests cost more than they held.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(
                condition=models.Q(("review_since__gt", datetime(2000, 1, 1, tzinfo=UTC))),
                fields=["review_since"],
                name="under_review",
            ),
        ),
    ]
