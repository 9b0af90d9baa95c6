"""App config of the pages that staff work on and that span the other apps."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SupportConfig(AppConfig):
    name = "support"
    verbose_name = "Support"

    def ready(self) -> None:
        from support.access.roles import ensure_roles
        from support.audit import signals

        signals.connect()
        post_migrate.connect(ensure_roles, sender=self)
