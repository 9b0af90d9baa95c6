from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_several_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="expires_at_new",
            field=models.DateTimeField(
                blank=True,
                db_column="expiresAtNew",
                editable=False,
                help_text="A second date, of later versions of the replaced system. `expiry` is the date that counts.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="is_migrated",
            field=models.BooleanField(
                blank=True,
                db_column="migration",
                editable=False,
                help_text="False: the credits were never divided when the price of a credit changed, and cannot be spent.",
                null=True,
            ),
        ),
    ]
