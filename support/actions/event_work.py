"""The actions of who works on an event: notes for each other, and who has taken it."""

from typing import Any

from payments.inbox import assignment
from payments.models import WebhookEvent
from support.actions.action import Action, ActionForm, Data, Line, Result, nothing
from support.actions.event_lines import REVIEW


class NoteForm(ActionForm):
    """The reason is the note."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].label = "Note"
        self.fields["reason"].help_text = "It is kept for good, with your name and the time."


class UnreasonedForm(ActionForm):
    """For what moves nothing and explains itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = False


def _preview_note(event: WebhookEvent, data: Data) -> list[Line]:
    return [Line("Event", event.get_status_display(), event.get_status_display()), Line("Note", "", data["reason"])]


def _note(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    return Result("The note was kept.")  # As its own audit entry, which nobody changes.


def _preview_taking(event: WebhookEvent, data: Data) -> list[Line]:
    assignment.check_free(event)
    return [Line("Taken by", "nobody", "you")]


def _take(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    assignment.take(event_key=event.pk, actor=actor)
    return Result("You work on this event now.")


def _preview_release(event: WebhookEvent, data: Data) -> list[Line]:
    return [Line("Taken by", event.assigned_to or "nobody", "nobody")]


def _release(event: WebhookEvent, data: Data, operation: str, actor: str) -> Result:
    assignment.release(event_key=event.pk, seen=event.assigned_to or "")
    return Result("Nobody works on this event now.")


WORK = (
    Action(
        slug="note-event",
        title="Write a note",
        icon="edit_note",
        permission=REVIEW,
        submit="Keep",
        form_class=NoteForm,
        preview=_preview_note,
        change=_note,
        amount=nothing,
        note="For others who work on this event. It changes nothing.",
    ),
    Action(
        slug="take-event",
        title="Take it",
        icon="back_hand",
        permission=REVIEW,
        submit="Take",
        form_class=UnreasonedForm,
        preview=_preview_taking,
        change=_take,
        amount=nothing,
        note="Says in the list that you work on it. Others can still decide.",
        opens_previewed=True,
        is_offered=lambda event: event.is_waiting_for_staff and not event.assigned_to,
    ),
    Action(
        slug="release-event",
        title="Give it back",
        icon="undo",
        permission=REVIEW,
        submit="Give back",
        form_class=UnreasonedForm,
        preview=_preview_release,
        change=_release,
        amount=nothing,
        note="Nobody works on it then, and others can take it.",
        opens_previewed=True,
        is_offered=lambda event: event.is_waiting_for_staff and bool(event.assigned_to),
    ),
)
