"""The types of the fixtures that make something when they are called: an account, an order, a server, a delivery."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import requests
from django.test import Client

if TYPE_CHECKING:
    from payments.models import Payment
    from tests.payments.conftest import Site
    from tests.serving import Server

Result = TypeVar("Result")


class InsertUser(Protocol):
    """Insert a document of `usersNew` exactly as given; returns its name."""

    def __call__(self, username: str = "alice", **fields: Any) -> str: ...


class InThreads(Protocol):
    """Call a function with 0, 1, … count - 1 in that many threads at once; returns the results."""

    def __call__(self, count: int, function: Callable[[int], Result]) -> list[Result]: ...


class LogIn(Protocol):
    """Log in as a new staff member with a role (None: a superuser); returns the browser."""

    def __call__(self, role: str | None, name: str = "sam") -> Client: ...


class ServeWith(Protocol):
    """Start another gunicorn with settings of its own: `serve_with(NAME="value")`."""

    def __call__(self, **settings: str) -> "Server": ...


class MakeOrder(Protocol):
    """Make an order of an account, which is inserted if it is new."""

    def __call__(self, username: str = "alice", credits: int = 20, minutes_ago: float = 0, **kwargs: Any) -> "Payment":
        """`minutes_ago` is when it was made; `kwargs` are those of `create_order`."""


class CallApi(Protocol):
    """Call the payment API as a customer, or as nobody."""

    def __call__(self, method: str, path: str, *, user: str | None = None, **kwargs: Any) -> requests.Response: ...


class Deliver(Protocol):
    """Deliver a SePay webhook: a payload, or raw bytes."""

    def __call__(self, payload: Any, key: str | None = "sepay-test-key", **headers: str) -> requests.Response: ...


class StartSite(Protocol):
    """Start the site in processes of its own."""

    def __call__(self, kill_at: Any = (), **environment: str) -> "Site": ...
