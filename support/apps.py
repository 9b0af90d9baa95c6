"""App config of the pages that staff work on and that span the other apps."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class SupportConfig(AppConfig):
    name = "support"
    verbose_name = "Support"

    def ready(self) -> None:
        from support.access.released_roles import complete_roles, note_permissions
        from support.audit import signals

        signals.connect()
        pre_migrate.connect(note_permissions, sender=self)
        post_migrate.connect(complete_roles, sender=self)
