"""App config of the site, which carries the system checks."""

from django.apps import AppConfig

from mongo.contrib.apps import MongoAdminConfig


class BillingSiteConfig(AppConfig):
    name = "billing_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from billing_site import checks  # noqa: F401  (importing registers the checks)


class StaffAdminConfig(MongoAdminConfig):
    """The admin, with the staff's site."""

    default_site = "support.access.site.StaffSite"
