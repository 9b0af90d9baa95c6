from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0006_price_dimensions"),
    ]

    operations = [
        migrations.AddField(
            model_name="idempotentrequest",
            name="process",
            field=models.CharField(help_text="The process that runs the request.", max_length=32, null=True),
        ),
        migrations.AddIndex(
            model_name="idempotentrequest",
            index=models.Index(fields=["request_id"], name="idempotent_request_id"),
        ),
    ]
