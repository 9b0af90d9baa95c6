from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0007_bills_of_stored_answers"),
    ]

    operations = [
        migrations.AddField(
            model_name="requestlog",
            name="key_id",
            field=models.CharField(db_column="keyId", max_length=24, null=True, verbose_name="API key id"),
        ),
    ]
