"""App config of the reads across the other apps; it has commands, and no models of its own."""

from django.apps import AppConfig


class BooksConfig(AppConfig):
    name = "books"
    verbose_name = "Books"
