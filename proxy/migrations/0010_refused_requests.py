"""Why requests were refused, and the index that finds what cost an account most."""

import money.fields
from django.db import migrations, models


def expire_by_themselves(apps, schema_editor):
    for name in ("refused_requests", "refusal_counts"):
        schema_editor.get_collection(name).create_index("expiresAt", expireAfterSeconds=0)


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0009_lowered_max_tokens"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusalCount",
            fields=[
                ("id", models.CharField(db_column="_id", max_length=330, primary_key=True, serialize=False)),
                ("kept", models.IntegerField(default=0)),
                ("not_kept", models.IntegerField(db_column="notKept", default=0)),
                ("expires_at", models.DateTimeField(db_column="expiresAt")),
            ],
            options={
                "db_table": "refusal_counts",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RefusedRequest",
            fields=[
                (
                    "id",
                    models.CharField(
                        db_column="_id", max_length=40, primary_key=True, serialize=False, verbose_name="request id"
                    ),
                ),
                ("user_id", models.CharField(db_column="userId", max_length=300, verbose_name="account")),
                ("created_at", models.DateTimeField(db_column="createdAt", verbose_name="time")),
                (
                    "upstream",
                    models.CharField(choices=[("openhands", "OpenHands"), ("ohmygpt", "OhMyGPT")], max_length=10),
                ),
                ("endpoint", models.CharField(max_length=100)),
                ("model", models.CharField(max_length=150, null=True)),
                ("code", models.CharField(max_length=40)),
                ("status_code", models.IntegerField(db_column="statusCode", verbose_name="status")),
                ("message", models.CharField(max_length=2000, verbose_name="what the customer was told")),
                ("needed", money.fields.MoneyField(decimal_places=8, default=None, max_digits=18, null=True)),
                ("available", money.fields.MoneyField(decimal_places=8, default=None, max_digits=18, null=True)),
                ("held", money.fields.MoneyField(decimal_places=8, default=None, max_digits=18, null=True)),
                ("worst_case", models.JSONField(db_column="worstCase", null=True)),
                (
                    "balances",
                    models.JSONField(help_text="What was available of each balance then, as text.", null=True),
                ),
                (
                    "holds",
                    models.JSONField(
                        default=list, help_text="What other requests held of the balance then, the largest first."
                    ),
                ),
                ("holds_count", models.IntegerField(db_column="holdsCount", default=0)),
                ("api_key_prefix", models.CharField(db_column="apiKeyPrefix", max_length=32, verbose_name="API key")),
                ("expires_at", models.DateTimeField(db_column="expiresAt", verbose_name="kept until")),
            ],
            options={
                "db_table": "refused_requests",
                "default_permissions": ("view",),
                "ordering": ("-created_at",),
            },
        ),
        migrations.AddIndex(
            model_name="requestlog",
            index=models.Index(fields=["user_id", "-cost", "-created_at"], name="log_account_cost"),
        ),
        migrations.AddIndex(
            model_name="refusedrequest",
            index=models.Index(fields=["-created_at"], name="refused_time"),
        ),
        migrations.AddIndex(
            model_name="refusedrequest",
            index=models.Index(fields=["user_id", "-created_at"], name="refused_account_time"),
        ),
        migrations.AddIndex(
            model_name="refusedrequest",
            index=models.Index(fields=["code", "-created_at"], name="refused_code_time"),
        ),
        migrations.AddIndex(
            model_name="refusedrequest",
            index=models.Index(fields=["model", "-created_at"], name="refused_model_time"),
        ),
        migrations.AddIndex(
            model_name="refusedrequest",
            index=models.Index(fields=["upstream", "-created_at"], name="refused_upstream_time"),
        ),
        migrations.RunPython(expire_by_themselves, migrations.RunPython.noop),
    ]
