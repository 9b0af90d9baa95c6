"""The switch that staff use to stop customers from buying; money on its way is still credited."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from payments.errors import PurchasingOff
from payments.models import PurchasingState

_NAME = "purchasing"


@dataclass(frozen=True)
class Purchasing:
    """Whether customers can buy now, and what they read if not."""

    is_on: bool
    notice: str


def read_purchasing() -> Purchasing:
    """The switch as staff left it; the setting HAS_PURCHASING=off overrules them."""
    state = PurchasingState.objects.filter(pk=_NAME).first()
    is_on = settings.HAS_PURCHASING and (state is None or state.is_on)
    notice = (state.notice if state and not state.is_on else "") or settings.MAINTENANCE_TEXT
    return Purchasing(is_on=is_on, notice="" if is_on else notice)


def check_purchasing() -> None:
    """Raise `PurchasingOff`, with the notice for customers, while the switch is off."""
    purchasing = read_purchasing()
    if not purchasing.is_on:
        raise PurchasingOff("purchasing is off", customer_message=purchasing.notice)


def switch_purchasing(*, is_on: bool, actor: str, reason: str, notice: str = "", now: datetime | None = None) -> None:
    """Let customers buy or stop them; the last call counts. Webhooks go on either way. Safe to repeat."""
    fields = {"is_on": is_on, "notice": notice, "changed_by": actor, "reason": reason}
    PurchasingState.objects.update_or_create(pk=_NAME, defaults={**fields, "changed_at": now or timezone.now()})
