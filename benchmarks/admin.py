"""`make bench-admin`: does every page of the admin open in a second with 1,000,000 accounts and 5,000,000 requests?

    python -m benchmarks.admin [--accounts 1000000] [--requests 5000000]

The first run loads them into `var/bench-admin`, 20 minutes; later runs find them. Opens every page three times, prints
a Markdown table, writes it to `var/bench-admin.md`, and exits with 1 if a page takes more than a second (in the median)
or a query reads or sorts a big collection.
"""

import argparse
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.admin_pages import Page, pages_of
from benchmarks.admin_report import Timing, render
from benchmarks.browser import Browser
from benchmarks.query_plans import Profiler, Query
from benchmarks.servers import DATABASE, ROOT, manage, platform_environment, start_gunicorn
from development.mongod import Mongod

DIRECTORY = ROOT / "var" / "bench-admin"
CACHE_GB = 2.0
ROUNDS = 3
MOST_SECONDS = 1.0
MOST_DOCUMENTS = 20_000
"""What one query may read: the 10,000th row of a list, or all requests of a day (14,000) that the dashboard counts."""
EXPORT_SECONDS = 1.0
"""How long the server may still read ahead for an export that nobody reads on."""
STAFF = "bench"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin", description="Measure the pages of the admin.")
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--only", default="", help="only the pages whose group or address contains this")
    options = parser.parse_args()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        mongod = stack.enter_context(Mongod(DIRECTORY / "mongodb", cache_gb=CACHE_GB, start_seconds=300))
        environment = platform_environment(mongod, upstream_url="http://127.0.0.1:9")
        manage(environment, "migrate")
        load(environment, options.accounts, options.requests)
        client = stack.enter_context(MongoClient[dict[str, Any]](mongod.url))
        database = client[DATABASE]
        password = make_superuser(environment, database)
        site = start_gunicorn(stack, DIRECTORY, environment, port="SITE_PORT")
        profiler = stack.enter_context(Profiler(database))
        browser = Browser(site.port)
        browser.log_in(STAFF, password)
        pages = [page for page in pages_of(database) if options.only in f"{page.group} {page.address}"]
        timings = list(measure(pages, browser, database, profiler))
        database["auth_user"].delete_one({"username": STAFF})
    notes = [
        f"{options.accounts:,} accounts, {options.requests:,} requests, {len(pages)} pages, each {ROUNDS} times",
        f"{os.cpu_count()} cores for everything, {time.monotonic() - started:.0f} s in all",
    ]
    report, is_good = render(timings, most_seconds=MOST_SECONDS, notes=notes)
    (ROOT / "var" / "bench-admin.md").write_text(report)
    print(report)
    return 0 if is_good else 1


def load(environment: dict[str, str], accounts: int, requests: int) -> None:
    """Fill the database, unless an earlier run did."""
    done, size = DIRECTORY / "loaded", f"{accounts} accounts, {requests} requests\n"
    if done.exists() and done.read_text() == size:
        return
    done.unlink(missing_ok=True)
    say(f"Loading {size.strip()}; the next run finds them. (`rm -r {DIRECTORY}` removes them.)")
    started = time.monotonic()
    tryout = environment | {"ENVIRONMENT": "development"}
    manage(tryout, "load_history", f"--accounts={accounts}", f"--requests={requests}", "--replace", "--count-days")
    done.write_text(size)
    say(f"Loaded in {time.monotonic() - started:.0f} s.")


def make_superuser(environment: dict[str, str], database: Database[dict[str, Any]]) -> str:
    """A superuser for this run; returns the password."""
    database["auth_user"].delete_one({"username": STAFF})
    password = secrets.token_urlsafe(24)
    secret = {"DJANGO_SUPERUSER_PASSWORD": password}
    manage(environment | secret, "createsuperuser", "--noinput", f"--username={STAFF}", "--email=bench@localhost")
    return password


def measure(
    pages: list[Page], browser: Browser, database: Database[dict[str, Any]], profiler: Profiler
) -> Iterator[Timing]:
    """Open every page `ROUNDS` times; an answer other than 200 raises."""
    browser.open("/admin/support/help/")  # Templates are loaded.
    profiler.new_queries()
    for number, page in enumerate(pages):
        if number % 50 == 0:
            say(f"{number} of {len(pages)} pages: {page.group}")
        seconds = []
        counted = list(database["daily_figures"].find()) if page.is_cold else []
        for _ in range(ROUNDS):
            if page.is_cold:
                database["daily_figures"].delete_many({})
            seconds.append(browser.open(page.address, is_long=page.is_export))
        if page.is_cold:
            database["daily_figures"].delete_many({})
            database["daily_figures"].insert_many(counted)
        if page.is_export:
            time.sleep(EXPORT_SECONDS)
        queries = profiler.new_queries()
        yield Timing(page, seconds, [] if page.is_export else list(dict.fromkeys(problems_of(queries))))


def problems_of(queries: list[Query]) -> Iterator[str]:
    for query in queries:
        if problem := query.problem(MOST_DOCUMENTS):
            yield f"{problem}: {query}"


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
