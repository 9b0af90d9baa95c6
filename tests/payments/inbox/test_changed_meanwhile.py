"""When another process, or a person, was first, nothing failed: nothing is recorded, reviewed, or done twice."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from accounts.models import Account, LedgerEntry
from mongo.transactions import is_in_transaction, run_in_transaction
from payments.errors import ChangedMeanwhile, MalformedEvent
from payments.inbox import review
from payments.models import Payment, WebhookEvent
from payments.providers.events import MoneyReceived, ProviderEvent
from payments.rules.receipts import credit_order
from tests.factories import MakeOrder
from tests.pages import text_of
from tests.payments.acme import Acme, send_acme


class Overtaken(Acme):
    """While one process reads its stored event, another one moves that event on."""

    to_status = ""
    is_readable = True
    spares_who_looks = False
    """Whether it only overtakes who is about to write: pages read the event too, outside of any transaction."""

    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        provider_event = super().read(body=body, headers=headers)
        if self.spares_who_looks and not is_in_transaction():
            return provider_event
        stored = WebhookEvent.objects.filter(event_id=provider_event.event_id)
        if self.to_status and stored.update(status=self.to_status, next_attempt_at=None) and not self.is_readable:
            raise MalformedEvent("'id' is odd.")
        return provider_event


@pytest.fixture
def overtaken(use_providers: Callable[..., None]) -> Iterator[type[Overtaken]]:
    """The provider; it is not overtaken before `to_status` is set."""
    use_providers("payments.providers.sepay.SePay", f"{__name__}.Overtaken")
    yield Overtaken
    Overtaken.to_status, Overtaken.is_readable, Overtaken.spares_who_looks = "", True, False


@pytest.mark.parametrize("is_readable", [True, False])
def test_an_event_that_another_process_finished_is_left_to_it(
    site: str,
    overtaken: type[Overtaken],
    make_order: MakeOrder,
    caplog: pytest.LogCaptureFixture,
    is_readable: bool,
) -> None:
    caplog.set_level(logging.INFO, logger="payments")
    overtaken.to_status, overtaken.is_readable = "done", is_readable
    order = make_order(method="acme")
    payload = {"id": "a1", "amount": 18, "currency": "EUR", "memo": order.order_code}
    assert send_acme(site, payload).status_code == 200
    event = WebhookEvent.objects.get()
    assert (event.status, event.error, event.attempts, event.processed_at) == ("done", "", 1, None)
    assert Account.objects.get().credits_new == 0
    assert not LedgerEntry.objects.exists()
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name.startswith("payments")]
    assert told == [
        (
            "INFO",
            "Event acme a1 was changed by somebody else meanwhile, so nothing was done. "
            "Look at it again before you decide.",
        )
    ]


def test_a_payment_that_was_paid_meanwhile_is_not_credited(
    site: str, overtaken: type[Overtaken], make_order: MakeOrder
) -> None:
    order = make_order(method="acme")
    send_acme(site, {"id": "a1", "amount": 18, "currency": "EUR", "memo": "none"})
    event = WebhookEvent.objects.get()
    receipt = MoneyReceived(
        transaction_id="a2",
        transfer_key="acme:a2",
        amount=order.amount,
        currency="EUR",
        order_codes=(),
        occurred_at=datetime.now(UTC),
    )
    Payment.objects.update(status="success")
    with pytest.raises(ChangedMeanwhile, match=f"Payment {order} was changed by somebody else"):
        run_in_transaction(
            lambda: credit_order(event=event, order=order, receipt=receipt, actor="acme", now=datetime.now(UTC))
        )
    assert Account.objects.get().credits_new == 0
    assert not LedgerEntry.objects.exists()


def test_a_decision_that_came_second_is_refused_with_a_sentence(
    site: str, overtaken: type[Overtaken], make_order: MakeOrder, admin_client: Client
) -> None:
    order = make_order(method="acme")
    send_acme(site, {"id": "a1", "amount": 18, "currency": "EUR", "memo": "none"})
    event = WebhookEvent.objects.get()
    address = f"/admin/support/do/event/{event.pk}/match-event/"
    token = admin_client.get(address).content.decode().split('name="token" value="')[1].split('"')[0]
    overtaken.to_status, overtaken.spares_who_looks = "ignored", True
    with pytest.raises(ChangedMeanwhile):
        review.match(event_key=event.pk, payment_key=order.pk, actor="staff:mai", reason="phoned")
    form = {"order": order.order_code, "reason": "phoned", "token": token, "confirm": "1"}
    shown: Any = admin_client.post(address, form)
    assert "Event acme a1 was changed by somebody else meanwhile, so nothing was done." in text_of(shown)
    assert WebhookEvent.objects.get().status == "review"
    assert Account.objects.get().credits_new == 0
