"""What staff did: the audit trail, and the permissions of the actions that it records."""

from typing import Any

from django.db import models


class AuditEntry(models.Model):
    """One thing a staff member did or tried: who, when, to what, why, and what changed. Never changed or deleted.

    The key of something done is its operation, so that it can be done only once; attempts have keys of their own.
    """

    class Outcome(models.TextChoices):
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"

    id = models.CharField("operation", primary_key=True, db_column="_id", max_length=100)
    at = models.DateTimeField("time")
    actor = models.CharField("who", max_length=150)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True, help_text="The account, payment or setting it was done to.")
    reason = models.CharField("why", max_length=500, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    error = models.CharField(max_length=500, blank=True, help_text="Why it was refused.")
    thing = models.CharField(
        max_length=800, null=True, default=None, editable=False, help_text="What `support/audit/things.py` calls it."
    )
    part = models.CharField(max_length=100, null=True, default=None, editable=False, help_text="Which API key of it.")

    class Meta:
        db_table = "audit_entries"
        ordering = ("-at",)
        verbose_name_plural = "audit entries"
        indexes = (
            models.Index(fields=["-at"], name="audit_time"),
            models.Index(fields=["actor", "-at"], name="audit_actor_time"),
            models.Index(fields=["target", "-at"], name="audit_target_time"),
            models.Index(fields=["action", "-at"], name="audit_action_time"),
            models.Index(fields=["outcome", "-at"], name="audit_outcome_time"),
            models.Index(fields=["thing", "-at"], name="audit_thing_time"),
        )
        permissions = (
            ("transfer_credits", "Can transfer credits between the balances of an account"),
            ("adjust_credits", "Can add or deduct credits"),
            ("set_expiry", "Can set the expiry of credits"),
            ("set_status", "Can disable and enable accounts"),
            ("rotate_key", "Can replace API keys"),
            ("review_payments", "Can decide on events that wait for review"),
            ("switch_purchasing", "Can turn purchasing off and on"),
            ("export_lists", "Can export lists"),
            ("view_margin", "Can see what requests cost the operator, and the margin"),
        )

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"

    def save(self, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("audit entries are immutable")
        super().save(**{**kwargs, "force_insert": True})

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        raise TypeError("audit entries are immutable")


class ReleasedRole(models.Model):
    """What releases have given to one of their roles. It is given once: what somebody took away stays away."""

    name = models.CharField("role", primary_key=True, db_column="_id", max_length=150)
    group_key = models.CharField("id of the role", db_column="groupKey", max_length=40)
    permissions = models.JSONField(default=list)

    class Meta:
        db_table = "released_roles"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class SecondFactor(models.Model):
    """The authenticator app of one staff user (RFC 6238). Its secret is shown only while it is set up.

    It is stored as `support.access.sealed` makes it; older releases stored it as it is.
    """

    user_key = models.CharField("user id", primary_key=True, db_column="_id", max_length=40, editable=False)
    username = models.CharField("user", max_length=150, editable=False)
    secret = models.CharField(max_length=255, editable=False)
    last_step = models.BigIntegerField(db_column="lastStep", default=0, editable=False)
    confirmed_at = models.DateTimeField(db_column="confirmedAt", editable=False)
    backup_hashes = models.JSONField(db_column="backupHashes", null=True, editable=False)

    class Meta:
        db_table = "second_factors"
        verbose_name = "second factor"

    def __str__(self) -> str:
        return self.username


class SavedFilter(models.Model):
    """A search and filters of one list, kept by one staff user under a name. Nobody else sees or deletes it."""

    user_key = models.CharField(max_length=40, db_column="userKey")
    list_name = models.CharField(max_length=60, db_column="list")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)

    class Meta:
        db_table = "saved_filters"
        default_permissions = ()
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["user_key", "list_name", "name"], name="saved_filter_unique"),)
        indexes = (models.Index(fields=["user_key", "list_name", "name"], name="saved_filter_list"),)

    def __str__(self) -> str:
        return self.name
