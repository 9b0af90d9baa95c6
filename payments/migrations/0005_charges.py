from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0004_provider_names_as_methods"),
    ]

    operations = [
        migrations.AddField(
            model_name="payment",
            name="provider_charge_id",
            field=models.CharField(
                db_column="providerChargeId",
                editable=False,
                help_text="Another name of the money, which some of its refunds and disputes have alone.",
                max_length=100,
                null=True,
                verbose_name="provider charge",
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["provider_charge_id"], name="payment_charge"),
        ),
    ]
