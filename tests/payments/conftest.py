"""The site over real sockets, and what a bank, a provider and a customer send to it."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
from django.conf import settings
from django.core.servers.basehttp import WSGIServer
from django.test import override_settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Account
from payments import orders
from payments.models import Payment
from payments.providers import reload_providers
from tests.conftest import key_of
from tests.factories import CallApi, Deliver, InsertUser, MakeOrder, StartSite
from tests.payments import acme as acme_module
from tests.payments.fakes import FakeSePay, FakeStripe
from tests.payments.senders import session_id_of

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
_ids = itertools.count(1_000_000)


@pytest.fixture(autouse=True, scope="session")
def _long_backlog() -> Iterator[None]:
    """Let the test server queue as many connections as gunicorn does (2048; Django's queues 10 and resets the rest)."""
    patch = pytest.MonkeyPatch()
    patch.setattr(WSGIServer, "request_queue_size", 256)
    yield
    patch.undo()


@pytest.fixture
def site(live_server: LiveServer) -> str:
    """The address of the site, served by threads over real sockets."""
    return str(live_server.url)


@pytest.fixture
def sepay(settings: Any) -> Iterator[FakeSePay]:
    """SePay's list on loopback, and the settings that point to it."""
    fake = FakeSePay()
    settings.SEPAY_API_URL = f"{fake.url}/v2"
    settings.SEPAY_API_TOKEN = fake.token
    yield fake
    fake.stop()


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    """Stripe's API on loopback, and the settings that point to it."""
    fake = FakeStripe()
    settings.STRIPE_API_URL = fake.url
    settings.STRIPE_SECRET_KEY = fake.key
    settings.CHECKOUT_RETURN_URL = "https://shop.test/back"
    yield fake
    fake.stop()


@pytest.fixture
def api(site: str) -> Iterator[CallApi]:
    """Call the payment API as a customer: `api("GET", "history", user="alice")`."""
    with requests.Session() as session:
        session.trust_env = False

        def call(method: str, path: str, *, user: str | None = None, **kwargs: Any) -> requests.Response:
            headers = {"Authorization": f"Bearer {key_of(user)}"} if user else {}
            headers |= kwargs.pop("headers", {})
            return session.request(method, f"{site}/api/payment/{path}", headers=headers, timeout=60, **kwargs)

        yield call


def transfer(code: str = "", amount: int = 50_000, **changes: Any) -> dict[str, Any]:
    """What SePay sends for an incoming transfer with `code` in its memo."""
    number = next(_ids)
    content = f"MBVCB.{number}.{code}.CT tu 0123456789 NGUYEN VAN A toi 0123499999"
    return {
        "id": number,
        "gateway": "Vietcombank",
        "transactionDate": datetime.now(VIETNAM).strftime("%Y-%m-%d %H:%M:%S"),
        "accountNumber": "0123499999",
        "code": None,
        "content": content,
        "transferType": "in",
        "transferAmount": amount,
        "accumulated": 0,
        "subAccount": None,
        "referenceCode": f"MBVCB.{number}",
        "description": f"BankAPINotify {content}",
        **changes,
    }


@pytest.fixture
def deliver(site: str) -> Deliver:
    """Deliver a SePay webhook: a payload, or raw bytes. A new connection each time, as SePay's."""

    def send(payload: Any, key: str | None = "sepay-test-key", **headers: str) -> requests.Response:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        sent = {"Content-Type": "application/json", **headers}
        if key is not None:
            sent["Authorization"] = f"Apikey {key}"
        return requests.post(f"{site}/api/payment/webhook", data=body, headers=sent, timeout=60)

    return send


@pytest.fixture
def make_order(insert_user: InsertUser) -> MakeOrder:
    """An order of an account (inserted if new), made `minutes_ago`."""

    def make(username: str = "alice", credits: int = 20, minutes_ago: float = 0, **kwargs: Any) -> Payment:
        if not Account.objects.filter(pk=username).exists():
            insert_user(username)
        now = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        order = orders.create_order(account=Account.objects.get(pk=username), credits=credits, now=now, **kwargs)
        if order.payment_method == "stripe":
            orders.record_session(order, session_id_of(order.order_code))
        return order

    return make


@pytest.fixture
def use_providers() -> Iterator[Callable[..., None]]:
    """List these providers (by the paths of their classes) for one test."""
    with override_settings():

        def use(*paths: str) -> None:
            settings.PAYMENT_PROVIDERS = list(paths)
            reload_providers()

        yield use
    reload_providers()


@pytest.fixture
def acme(use_providers: Callable[..., None]) -> None:
    """A fourth provider, which exists in the tests only."""
    use_providers(*settings.PAYMENT_PROVIDERS, acme_module.PATH)


class Site:
    """The site in processes of its own (tests/payments/server.py): one, or one for each moment to die at."""

    def __init__(self, kill_at: Sequence[str] = (), **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.payments.server"],
            env=os.environ | environment | {"KILL_AT": ",".join(kill_at)},
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.urls = [f"http://127.0.0.1:{int(self._stdout.readline())}" for _ in kill_at or ("",)]

    def deliver(
        self, body: bytes, process: int = 0, *, path: str = "webhook", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Deliver a webhook (SePay's) to one of the processes; raises `requests.ConnectionError` if it dies of it."""
        sent = headers or {"Authorization": "Apikey sepay-test-key", "Content-Type": "application/json"}
        return requests.post(f"{self.urls[process]}/api/payment/{path}", data=body, headers=sent, timeout=60)

    def stop(self) -> None:
        """End all processes."""
        self._stdin.close()
        self._stdout.close()
        self._process.wait(timeout=30)


@pytest.fixture
def start_site() -> Iterator[StartSite]:
    """Start the site in processes of its own, as `Site`; they stop after the test."""
    sites: list[Site] = []

    def start(**kwargs: Any) -> Site:
        sites.append(Site(**kwargs))
        return sites[-1]

    yield start
    for site in sites:
        site.stop()
