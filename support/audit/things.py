"""What an audit entry is about, so that the history of a thing is found whatever its name was at the time."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.db.models import Model, Q

FIRST_KEY = "first"
"""The first API key of an account, whose id changes with each new secret."""
MODELS_OF_KINDS: Mapping[str, str] = {
    "account": "accounts.account",
    "event": "payments.webhookevent",
    "payment": "payments.payment",
}
"""The model behind each kind of target that dialogs have."""
VERBS = ("add", "change", "delete")


def thing_of(target: Any) -> str:
    """What names a document for good: its model and its key, such as `accounts.account:alice`; '' for what is none."""
    return name_of_thing(target._meta.label_lower, target.pk) if isinstance(target, Model) else ""


def name_of_thing(label: str, key: object) -> str:
    """The same for a document that was not read."""
    return f"{label}:{key}"


def read_thing(thing: str) -> tuple[type[Model], str] | None:
    """The model and the key that a thing names; None for anything else."""
    label, colon, key = thing.partition(":")
    try:
        return (apps.get_model(label), key) if colon and key else None
    except (LookupError, ValueError):
        return None


def entries_about(thing: str, *, names: Iterable[str], actions: Iterable[str]) -> Q:
    """The audit entries about a thing.

    Those of older versions, and of commands, say only what it was called and what was done: they are found by its
    `names`, if it is one of the `actions` that can be done to things of this kind.
    """
    older = Q(thing__isnull=True, target__in=list(names), action__in=list(actions))
    return Q(thing=thing) | older
