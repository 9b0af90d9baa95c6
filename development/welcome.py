"""What `make run` prints when it is ready: what to open, how to log in, and lines for the shell that pay and spend.

Only lines that work: none for a login or an account whose secrets `seed_demo` does not know.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

UPSTREAMS = ("OPENHANDS", "OHMYGPT")
DEMO_MODEL = "claude-haiku-4-5"
DEMO_CREDITS = 20

# Reads the answer of the checkout, writes what SePay sends when the transfer arrives. SePay's times are Vietnam's.
_SEPAY_PAYLOAD = """\
import json, sys, time; order = json.load(sys.stdin); print(json.dumps({{\
"id": time.time_ns() // 1000, "gateway": "Vietcombank", \
"transactionDate": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 7 * 3600)), \
"accountNumber": "{account_number}", "code": None, "content": order["orderCode"], "transferType": "in", \
"transferAmount": order["amount"], "accumulated": 0, "subAccount": None, "referenceCode": "DEMO", \
"description": ""}}))"""


def welcome(
    environment: Mapping[str, str],
    demo: Mapping[str, Any],
    *,
    urls: Mapping[str, str],
    fake_upstream_url: str | None,
    log_dir: Path,
) -> str:
    """The text. `demo` is what `seed_demo --json` prints, `urls` are by the name of the port's variable."""
    upstreams = {name: _upstream(environment, name, fake_upstream_url) for name in UPSTREAMS}
    password = demo["admin_password"] or "(the password that it had before)"
    account_lines = [
        f"  {account['username']:<13} {account['api_key']}  "
        f"creditsNew {account['credits_new']}, credits {account['credits']}"
        for account in demo["accounts"]
    ]
    return "\n".join(
        [
            "",
            f"  Admin         {urls['SITE_PORT']}/admin/",
            f"  Login         {demo['admin_username']} / {password}",
            f"  OpenHands     {urls['OPENHANDS_PORT']}/v1   upstream: {upstreams['OPENHANDS']}",
            f"  OhMyGPT       {urls['OHMYGPT_PORT']}/v1   upstream: {upstreams['OHMYGPT']}",
            f"  Database      {without_password(environment['DATABASE_URL'])}",
            f"  Logs          {log_dir}",
            *[f"\n  Note: {notice}" for notice in demo["notices"]],
            *(["", "Demo accounts:", *account_lines] if account_lines else []),
            *_lines(environment, demo["accounts"], urls),
            "",
            "Ready. Ctrl-C stops everything.",
        ]
    )


def _lines(environment: Mapping[str, str], accounts: list[dict[str, str]], urls: Mapping[str, str]) -> list[str]:
    """The lines that pay and spend, each below a comment; none without an account that can."""
    if not accounts:
        return []
    payer = accounts[0]
    holder = next((account for account in accounts if float(account["credits"]) > 0), None)
    lines = [
        "",
        f"# Pay: {payer['username']} orders {DEMO_CREDITS} credits, and SePay reports the bank transfer:",
        _payment_line(environment, urls["SITE_PORT"], payer["api_key"]),
        "",
        f"# Spend on OpenHands, from creditsNew of {payer['username']}:",
        _completion_line(urls["OPENHANDS_PORT"], payer["api_key"]),
    ]
    if holder is not None:
        lines += [
            "",
            f"# Spend on OhMyGPT, from credits of {holder['username']}:",
            _completion_line(urls["OHMYGPT_PORT"], holder["api_key"]),
        ]
    return lines


def _upstream(environment: Mapping[str, str], name: str, fake_upstream_url: str | None) -> str:
    url = environment[f"{name}_BASE_URL"]
    if url == fake_upstream_url:
        return f"FAKE, answers with the words it got ({name}_BASE_URL and {name}_API_KEY set a real one)"
    return without_password(url)


def _payment_line(environment: Mapping[str, str], site: str, api_key: str) -> str:
    checkout = _curl(f"{site}/api/payment/checkout", f"Bearer {api_key}", json.dumps({"credits": DEMO_CREDITS}))
    payload = _SEPAY_PAYLOAD.format(account_number=environment["SEPAY_ACCOUNT_NUMBER"])
    webhook = _curl(f"{site}/api/payment/webhook", f"Apikey {environment['SEPAY_API_KEYS'].split(',')[0]}", "@-")
    return f"{checkout} | python3 -c {shlex.quote(payload)} | {webhook}"


def _completion_line(base_url: str, api_key: str) -> str:
    body = {"model": DEMO_MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello, who are you?"}]}
    return _curl(f"{base_url}/v1/chat/completions", f"Bearer {api_key}", json.dumps(body))


def _curl(url: str, authorization: str, body: str) -> str:
    headers = ["-H", f"Authorization: {authorization}", "-H", "Content-Type: application/json"]
    # No proxy of the environment could reach this machine's own ports.
    return shlex.join(["curl", "-sS", "--noproxy", "*", "-w", "\\n", url, *headers, "-d", body])


def without_password(url: str) -> str:
    """The URL, fit to be shown: without user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
