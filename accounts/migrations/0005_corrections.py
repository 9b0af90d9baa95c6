from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_under_review"),
    ]

    operations = [
        migrations.AlterField(
            model_name="ledgerentry",
            name="kind",
            field=models.CharField(
                choices=[
                    ("opening", "Opening balance"),
                    ("purchase", "Purchase"),
                    ("bonus", "Bonus"),
                    ("transfer", "Transfer"),
                    ("adjustment", "Adjustment"),
                    ("expiry", "Expiry"),
                    ("refund", "Refund"),
                    ("chargeback", "Chargeback"),
                    ("correction", "Correction"),
                ],
                max_length=12,
            ),
        ),
    ]
