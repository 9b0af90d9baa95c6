"""What the books keep so that a page need not count it again."""

from django.db import models


class DailyFigures(models.Model):
    """What one day came to, counted once, so that a page reads one document per day. See daily_figures.py."""

    day = models.CharField(primary_key=True, db_column="_id", max_length=80)
    figures = models.JSONField(default=dict)
    computed_at = models.DateTimeField(db_column="computedAt")

    class Meta:
        app_label = "support"  # Where it began: its content type, permissions and migrations are stored under it.
        db_table = "daily_figures"
        ordering = ("-day",)
        verbose_name_plural = "daily figures"

    def __str__(self) -> str:
        return self.day
