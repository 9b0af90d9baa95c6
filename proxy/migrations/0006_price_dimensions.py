"""What a price row and a request log may say more. No document is touched: absent means what it meant before."""

import django.core.validators
import money.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0005_index_what_an_account_spent"),
    ]

    operations = [
        migrations.AddField(
            model_name="modelprice",
            name="attachment_tokens",
            field=models.JSONField(
                blank=True,
                db_column="attachmentTokens",
                default=None,
                null=True,
                verbose_name="input tokens of attachments",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="cache_write_1h_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="cacheWrite1hPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="cache write, 1 hour",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="input_audio_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="inputAudioPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="input, audio",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="input_image_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="inputImagePricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="input, images",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="option_multipliers",
            field=models.JSONField(
                blank=True,
                db_column="optionMultipliers",
                default=None,
                null=True,
                verbose_name="multipliers of options",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="output_audio_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="outputAudioPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="output, audio",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="output_image_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="outputImagePricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="output, images",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="output_member",
            field=models.CharField(
                blank=True,
                choices=[("max_tokens", "max_tokens"), ("max_completion_tokens", "max_completion_tokens")],
                db_column="outputMember",
                max_length=40,
                null=True,
                verbose_name="member that bounds output",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_cache_read_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownCacheReadPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own cache read",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_cache_write_1h_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownCacheWrite1hPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own cache write, 1 hour",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_cache_write_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownCacheWritePricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own cache write",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_input_audio_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownInputAudioPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own input, audio",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_input_image_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownInputImagePricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own input, images",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_input_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownInputPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own input",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_option_multipliers",
            field=models.JSONField(
                blank=True,
                db_column="ownOptionMultipliers",
                default=None,
                null=True,
                verbose_name="own multipliers of options",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_output_audio_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownOutputAudioPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own output, audio",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_output_image_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownOutputImagePricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own output, images",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="own_output_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="ownOutputPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="own output",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="passed_members",
            field=models.JSONField(
                blank=True, db_column="passedMembers", default=None, null=True, verbose_name="members that pass"
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="tiers",
            field=models.JSONField(
                blank=True, db_column="tiers", default=None, null=True, verbose_name="tiers by input size"
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="tool_fees",
            field=models.JSONField(
                blank=True, db_column="toolFees", default=None, null=True, verbose_name="fees of server tools"
            ),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="cache_write_1h_tokens",
            field=money.fields.CountField(
                db_column="cacheWrite1hTokens", default=0, verbose_name="cache write tokens, 1 hour"
            ),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="input_audio_tokens",
            field=money.fields.CountField(db_column="inputAudioTokens", default=0),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="input_image_tokens",
            field=money.fields.CountField(db_column="inputImageTokens", default=0),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="output_audio_tokens",
            field=money.fields.CountField(db_column="outputAudioTokens", default=0),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="output_image_tokens",
            field=money.fields.CountField(db_column="outputImageTokens", default=0),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="own_cost",
            field=money.fields.MoneyField(
                db_column="ownCost",
                decimal_places=8,
                default=None,
                help_text="USD that the upstream took.",
                max_digits=18,
                null=True,
                verbose_name="operator's cost",
            ),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="own_cost_source",
            field=models.CharField(
                choices=[("told", "Told by the upstream"), ("reckoned", "Reckoned from the price row")],
                db_column="ownCostSource",
                max_length=10,
                null=True,
                verbose_name="operator's cost, source",
            ),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="tool_uses",
            field=models.JSONField(
                db_column="toolUses", help_text="How often each server tool was used, by its name.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="cache_read_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="cacheHitPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="cache read",
            ),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="cache_write_price",
            field=money.fields.MoneyField(
                blank=True,
                db_column="cacheWritePricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="cache write",
            ),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="input_price",
            field=money.fields.MoneyField(
                db_column="inputPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="input",
            ),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="output_price",
            field=money.fields.MoneyField(
                db_column="outputPricePerMTok",
                decimal_places=8,
                default=None,
                help_text="USD per million tokens",
                max_digits=18,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="output",
            ),
        ),
    ]
