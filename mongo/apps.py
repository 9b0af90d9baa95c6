"""App config of the database layer."""

from django.apps import AppConfig


class MongoConfig(AppConfig):
    name = "mongo"
    verbose_name = "MongoDB"

    def ready(self) -> None:
        from mongo.writer import warn_unless_direct

        warn_unless_direct()
