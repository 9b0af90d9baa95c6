from django.db import migrations, models

import accounts.fields


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_corrections"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="keys",
            field=accounts.fields.KeysField(default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="account",
            name="key_hashes",
            field=accounts.fields.KeyHashesField(db_column="keyHashes", default=list, editable=False),
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(fields=["key_hashes"], name="key_hashes_lookup"),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(fields=("key_hashes",), name="key_hashes_unique"),
        ),
    ]
