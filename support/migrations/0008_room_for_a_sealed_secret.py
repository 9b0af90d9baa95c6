"""The secret of a second factor is stored encrypted, which is longer. No document is touched."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("support", "0007_index_pairs_of_filters")]
    operations = [
        migrations.AlterField(
            model_name="secondfactor",
            name="secret",
            field=models.CharField(editable=False, max_length=255),
        ),
    ]
