import mongo.fields
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0008_which_key_paid"),
    ]

    operations = [
        migrations.AddField(
            model_name="requestlog",
            name="max_tokens_lowered",
            field=mongo.fields.AdoptedIntegerField(
                db_column="maxTokensLowered",
                help_text="Output tokens: the balance afforded no more.",
                null=True,
                verbose_name="max_tokens lowered to",
            ),
        ),
    ]
