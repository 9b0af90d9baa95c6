"""What a browser shows when a page cannot be: the site's style, what happened, and a way back; JSON below `/api/`."""

import gzip

import pymongo
import pytest
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path

from tests.factories import LogIn
from tests.serving import Server


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault with a secret")


def lose_the_database(request: HttpRequest) -> HttpResponse:
    with pymongo.MongoClient[dict[str, object]]("127.0.0.1", 1, serverSelectionTimeoutMS=10) as nowhere:
        nowhere.admin.command("ping")
    return HttpResponse()


def be_suspicious(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("of something secret")


urlpatterns = [
    path("admin/fails/", fail),
    path("api/fails", fail),
    path("lost", lose_the_database),
    path("api/lost", lose_the_database),
    path("suspicious", be_suspicious),
    path("", include("billing_site.urls")),
]
handler400 = "billing_site.error_pages.bad_request"
handler404 = "billing_site.error_pages.not_found"
handler500 = "billing_site.error_pages.server_error"

PAGES = {
    "/nothing": (404, "There is no such page"),
    "/admin/nothing/": (302, ""),
    "/admin/fails/": (500, "look whether it was made"),
    "/lost": (503, "The database cannot be reached"),
    "/suspicious": (400, "Nothing was changed"),
}


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", PAGES)
def test_an_error_is_a_page_in_the_sites_style_with_a_way_back(client: Client, address: str) -> None:
    status, sentence = PAGES[address]
    response = client.get(address)
    assert response.status_code == status
    if status == 302:
        return
    text = response.text
    assert sentence in text
    assert "secret" not in text
    assert "support/home.css" in text
    assert "<main>" in text
    assert 'href="/"' in text
    assert ('href="/admin/"' in text) is address.startswith("/admin/")


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/api/nothing", 404, "not_found"),
        ("/api/fails", 500, "internal_error"),
        ("/api/lost", 503, "database_unavailable"),
    ],
)
def test_below_the_api_an_error_is_json(client: Client, address: str, status: int, code: str) -> None:
    response = client.get(address)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "secret" not in response.text


def test_a_page_of_the_admin_that_is_not_there_or_not_allowed_leads_back(log_in: LogIn) -> None:
    staff = log_in("Viewer")
    for address, status, sentence in (
        ("/admin/nothing/", 404, "There is no such page"),
        ("/admin/auth/user/add/", 403, "Ask an administrator"),
    ):
        response = staff.get(address)
        assert response.status_code == status
        assert sentence in response.text
        assert 'href="/admin/"' in response.text


def test_a_form_without_its_token_says_to_reload() -> None:
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "x", "password": "x"})
    assert response.status_code == 403
    assert "reload the page and send it again" in response.text


def test_a_page_is_sent_small(server: Server) -> None:
    def get(encoding: str) -> tuple[bytes, str | None]:
        response = server.http.request(
            "GET", f"{server.site}/admin/login/", headers={"Accept-Encoding": encoding}, decode_content=False
        )
        return response.data, response.headers.get("Content-Encoding")

    (plain, none), (small, coding) = get("identity"), get("gzip")
    assert (none, coding) == (None, "gzip")
    assert len(small) < len(plain) / 2
    assert b"</html>" in gzip.decompress(small)
