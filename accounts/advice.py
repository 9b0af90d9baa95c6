"""What a customer who reads an error can do. Most clients show nothing but its sentence, so it stands in there."""

from django.conf import settings


def buy_credits() -> str:
    """Where to buy, as the operator says it: `buy credits at https://…`."""
    return f"buy credits at {settings.PURCHASE_URL}" if settings.PURCHASE_URL else "buy credits"


def contact_support() -> str:
    """Whom to ask, as the operator says it: `contact support (help@example.com)`."""
    return f"contact support ({settings.SUPPORT_CONTACT})" if settings.SUPPORT_CONTACT else "contact support"
