"""App config of the pages that staff work on and that span the other apps."""

from django.apps import AppConfig


class SupportConfig(AppConfig):
    name = "support"
    verbose_name = "Support"
