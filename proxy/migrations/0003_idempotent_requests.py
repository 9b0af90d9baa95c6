from django.db import migrations, models


def expire_by_themselves(apps, schema_editor):
    schema_editor.get_collection("idempotent_requests").create_index("expiresAt", expireAfterSeconds=0)


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0002_allow_a_price_per_upstream"),
    ]

    operations = [
        migrations.CreateModel(
            name="IdempotentRequest",
            fields=[
                ("id", models.CharField(db_column="_id", max_length=64, primary_key=True, serialize=False)),
                ("body_sha256", models.CharField(db_column="bodySha256", max_length=64)),
                ("request_id", models.CharField(db_column="requestId", max_length=40)),
                ("answer", models.BinaryField(help_text="Null while the request runs.", null=True)),
                ("created_at", models.DateTimeField(db_column="createdAt")),
                ("expires_at", models.DateTimeField(db_column="expiresAt")),
            ],
            options={
                "db_table": "idempotent_requests",
            },
        ),
        migrations.RunPython(expire_by_themselves, migrations.RunPython.noop),
    ]
