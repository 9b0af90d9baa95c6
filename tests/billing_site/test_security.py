"""What the browser is told to refuse."""

from django.test import Client


def test_every_page_forbids_other_sites(client: Client, admin_client: Client) -> None:
    for response in (client.get("/"), admin_client.get("/admin/"), client.get("/nothing-here")):
        policy = response["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
