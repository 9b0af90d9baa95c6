"""What releases gave to their roles, and the right to see cost and margin."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("support", "0008_room_for_a_sealed_secret")]

    operations = [
        migrations.CreateModel(
            name="ReleasedRole",
            fields=[
                (
                    "name",
                    models.CharField(
                        db_column="_id", max_length=150, primary_key=True, serialize=False, verbose_name="role"
                    ),
                ),
                (
                    "group_key",
                    models.CharField(db_column="groupKey", max_length=40, verbose_name="id of the role"),
                ),
                ("permissions", models.JSONField(default=list)),
            ],
            options={"db_table": "released_roles", "default_permissions": ()},
        ),
        migrations.AlterModelOptions(
            name="auditentry",
            options={
                "ordering": ("-at",),
                "permissions": (
                    ("transfer_credits", "Can transfer credits between the balances of an account"),
                    ("adjust_credits", "Can add or deduct credits"),
                    ("set_expiry", "Can set the expiry of credits"),
                    ("set_status", "Can disable and enable accounts"),
                    ("rotate_key", "Can replace API keys"),
                    ("review_payments", "Can decide on events that wait for review"),
                    ("switch_purchasing", "Can turn purchasing off and on"),
                    ("export_lists", "Can export lists"),
                    ("view_margin", "Can see what requests cost the operator, and the margin"),
                ),
                "verbose_name_plural": "audit entries",
            },
        ),
    ]
