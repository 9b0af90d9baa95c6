from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0006_inquiries_that_closed"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookevent",
            name="money_key",
            field=models.CharField(
                db_column="moneyKey",
                editable=False,
                help_text="Provider, currency and amount of the money that it reports; empty = none, absent in old "
                "documents.",
                max_length=60,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="webhookevent",
            name="occurred_at",
            field=models.DateTimeField(
                db_column="occurredAt",
                editable=False,
                help_text="When the money came, by the provider.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="webhookevent",
            name="reference",
            field=models.CharField(editable=False, help_text="The bank's, normalised.", max_length=100, null=True),
        ),
        migrations.AddField(
            model_name="webhookevent",
            name="counterpart",
            field=models.CharField(
                editable=False,
                help_text="The event id of the other report of the same money: a webhook has one of the pull, and "
                "vice versa.",
                max_length=200,
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(fields=["money_key", "occurred_at", "received_at"], name="webhook_event_money"),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(fields=["money_key", "reference", "occurred_at"], name="webhook_event_reference"),
        ),
    ]
