"""What the ledger, the payments and the audit trail call the people who did something."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User

PREFIX = "staff:"
UNKNOWN = "unknown name"


def actor_of(user: AbstractBaseUser | AnonymousUser) -> str:
    """The actor that a staff user is: `staff:<name>`."""
    return PREFIX + user.get_username()


def actor_of_log_in(name: str) -> str:
    """Who tried to log in. People type passwords into the name field: a name that nobody has is not kept."""
    user = User.objects.filter(username=name).first()
    return actor_of(user) if user else UNKNOWN


def actors_meant_by(text: str) -> list[str]:
    """The actors that a search for `text` means: it may be a staff user's name without the prefix."""
    return [text, PREFIX + text]
