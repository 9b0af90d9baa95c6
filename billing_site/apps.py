"""App configs: Django's contrib apps with ObjectId keys, and our own site app that carries the system checks."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.contrib.auth.apps import AuthConfig
from django.contrib.contenttypes.apps import ContentTypesConfig
from django.contrib.sessions.apps import SessionsConfig

OBJECT_ID = "django_mongodb_backend.fields.ObjectIdAutoField"


class MongoAdminConfig(AdminConfig):
    default_auto_field = OBJECT_ID


class MongoAuthConfig(AuthConfig):
    default_auto_field = OBJECT_ID


class MongoContentTypesConfig(ContentTypesConfig):
    default_auto_field = OBJECT_ID


class MongoSessionsConfig(SessionsConfig):
    default_auto_field = OBJECT_ID


class BillingSiteConfig(AppConfig):
    name = "billing_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from billing_site import checks  # noqa: F401  (importing registers the checks)
