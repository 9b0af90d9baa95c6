"""Who of the staff works on an event, so that no two do. It says so only: whoever decides first has decided."""

from bson import ObjectId
from django.db.models import Q

from payments.errors import ChangedMeanwhile, InvalidDecision, NotReviewable
from payments.inbox.decision import check_waiting
from payments.models import WAITING_FOR_STAFF, WebhookEvent


def take(*, event_key: ObjectId, actor: str) -> None:
    """Note that `actor` works on an event that waits and that nobody works on.

    Of several at once one gets it. Raises `InvalidDecision`, which names who works on it or has decided, and
    `ChangedMeanwhile`. A second call raises too.
    """
    waiting = WebhookEvent.objects.filter(pk=event_key, status__in=WAITING_FOR_STAFF)
    if waiting.filter(Q(assigned_to=None) | Q(assigned_to="")).update(assigned_to=actor):
        return
    check_free(WebhookEvent.objects.filter(pk=event_key).first())
    raise ChangedMeanwhile("Who works on this event")  # It was given back in between.


def check_free(event: WebhookEvent | None) -> None:
    """Raise `InvalidDecision`, which names who works on an event, unless it waits and nobody does."""
    try:
        check_waiting(event)
    except NotReviewable as error:
        raise InvalidDecision(str(error)) from error
    if event is not None and event.assigned_to:
        raise InvalidDecision(f"{event.assigned_to} works on this event already.")


def release(*, event_key: ObjectId, seen: str) -> None:
    """Note that nobody works on an event any more; anybody may, as somebody may be ill.

    `seen` is who was seen to work on it. Raises `ChangedMeanwhile` if that is somebody else now, or nobody.
    """
    if not seen or not WebhookEvent.objects.filter(pk=event_key, assigned_to=seen).update(assigned_to=None):
        raise ChangedMeanwhile("Who works on this event")
