"""Who of the staff works on an event, so that no two do. It says so only: whoever decides first has decided."""

from bson import ObjectId
from django.db.models import Q

from payments.errors import ChangedMeanwhile, InvalidDecision
from payments.models import WAITING_FOR_STAFF, WebhookEvent


def take(*, event_key: ObjectId, actor: str) -> None:
    """Note that `actor` works on an event that waits and that nobody works on.

    Of several at once one gets it. Raises `InvalidDecision`, which names who works on it. A second call raises too.
    """
    waiting = WebhookEvent.objects.filter(pk=event_key, status__in=WAITING_FOR_STAFF)
    if waiting.filter(Q(assigned_to=None) | Q(assigned_to="")).update(assigned_to=actor):
        return
    found = WebhookEvent.objects.filter(pk=event_key).first()
    if found is not None and found.assigned_to:
        raise InvalidDecision(f"{found.assigned_to} works on this event already.")
    raise InvalidDecision("This event does not wait for a decision (any more).")


def release(*, event_key: ObjectId, seen: str) -> None:
    """Note that nobody works on an event any more; anybody may, as somebody may be ill.

    `seen` is who was seen to work on it. Raises `ChangedMeanwhile` if that is somebody else now, or nobody.
    """
    if not seen or not WebhookEvent.objects.filter(pk=event_key, assigned_to=seen).update(assigned_to=None):
        raise ChangedMeanwhile("Who works on this event")
