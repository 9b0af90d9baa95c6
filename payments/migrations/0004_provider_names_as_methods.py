"""A payment method is the name of a provider, and texts say "reversed" and "reinstated". No document is touched."""

import money.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0003_pull_state"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="payment",
                    name="payment_method",
                    field=models.CharField(
                        db_column="paymentMethod",
                        help_text="The provider that the customer chose.",
                        max_length=20,
                        null=True,
                    ),
                ),
                migrations.AlterField(
                    model_name="payment",
                    name="reversed_bonus",
                    field=money.fields.MoneyField(
                        db_column="reversedBonus",
                        decimal_places=8,
                        default=None,
                        help_text="USD reversed of the bonus.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                migrations.AlterField(
                    model_name="payment",
                    name="reversed_credits",
                    field=money.fields.MoneyField(
                        db_column="reversedCredits",
                        decimal_places=8,
                        default=None,
                        help_text="USD reversed of what was credited.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                migrations.AlterField(
                    model_name="reversal",
                    name="state",
                    field=models.CharField(
                        choices=[("notice", "Inquiry"), ("counted", "Reversed"), ("cancelled", "Reinstated")],
                        max_length=10,
                    ),
                ),
                migrations.AlterField(
                    model_name="webhookevent",
                    name="transfer_key",
                    field=models.CharField(
                        db_column="transferKey",
                        help_text="The money it reports, or `for:` and the money that it reverses.",
                        max_length=80,
                        null=True,
                    ),
                ),
            ]
        ),
    ]
