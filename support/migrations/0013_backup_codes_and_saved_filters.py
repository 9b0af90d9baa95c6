import django_mongodb_backend.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("support", "0012_what_audit_entries_are_about")]

    operations = [
        migrations.AddField(
            model_name="secondfactor",
            name="backup_hashes",
            field=models.JSONField(db_column="backupHashes", editable=False, null=True),
        ),
        migrations.CreateModel(
            name="SavedFilter",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("user_key", models.CharField(db_column="userKey", max_length=40)),
                ("list_name", models.CharField(db_column="list", max_length=60)),
                ("name", models.CharField(max_length=60)),
                ("query", models.CharField(max_length=1000)),
            ],
            options={
                "db_table": "saved_filters",
                "ordering": ("name",),
                "default_permissions": (),
                "indexes": [models.Index(fields=["user_key", "list_name", "name"], name="saved_filter_list")],
                "constraints": [
                    models.UniqueConstraint(fields=("user_key", "list_name", "name"), name="saved_filter_unique")
                ],
            },
        ),
    ]
