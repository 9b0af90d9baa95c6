"""App config of the try-out; it has commands, and no models."""

from django.apps import AppConfig


class DevelopmentConfig(AppConfig):
    name = "development"
    verbose_name = "Development"
