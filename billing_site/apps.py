"""App config of the site, which carries the system checks."""

from django.apps import AppConfig


class BillingSiteConfig(AppConfig):
    name = "billing_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from billing_site import checks  # noqa: F401  (importing registers the checks)
