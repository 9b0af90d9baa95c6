"""The whole cycle with many customers: taken over, used, rolled back, changed by the old programs, taken over again.

`Cycle` does it station by station beside the model (`tests/takeover/model.py`), and compares at each: no customer has
gained or lost a cent, every key works or is refused as the model says, and the books close. `make takeover` runs it
with as many accounts as wanted.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, timedelta
from decimal import Decimal
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from accounts import credits
from accounts.expiry import sweep_expired_accounts
from accounts.models import Account, Balance
from mongo.each_item import SomeFailed
from payments import orders
from tests.takeover import old_programs
from tests.takeover.database import PRICE_FILES, old_database
from tests.takeover.deeds import FIELDS, Clock, Deeds, refusal_of
from tests.takeover.model import UNREADABLE, ZERO, Customer, Key, found, options_of, usd
from tests.takeover.old_programs import Proxy, Refused, Timers


class Cycle(Deeds):
    """One run. `say` is told what each station took."""

    def __init__(
        self,
        database: Any,
        clock: Clock,
        *,
        size: int,
        seed: int,
        decisions: Any,
        files: Path,
        say: Callable[[str], None],
    ) -> None:
        self.database, self.clock, self.files, self.say = database, clock, files, say
        self.chance, self.decisions = random.Random(f"cycle {seed}"), decisions
        self.made = old_database(seed=seed, size=size, now=clock.now)
        self.customers = {account["_id"]: self._customer(account) for account in self.made.accounts()}
        for record in self.made.collections["user_keys"]:
            if customer := self.customers.get(record["name"]):
                customer.keys.setdefault(record["_id"], Key("unknown")).there = record["isActive"]
        self.strangers = [one["_id"] for name in ("friend_keys",) for one in self.made.collections[name]]
        self.strangers += [
            one["_id"] for one in self.made.collections["user_keys"] if one["name"] not in self.customers
        ]

    def _customer(self, account: dict[str, Any]) -> Customer:
        kind = self.made.kinds[account["_id"]]
        is_readable, has_odd_referral = kind not in UNREADABLE, kind == "referral as text"
        read = account if kind != "text number" else account | {"credits": 0}
        # Decided at the first station: until then both dates stand there.
        fields = found(read | ({"refCredits": 0} if has_odd_referral else {})) | {
            "expiresAtNew": read.get("expiresAtNew")
        }
        customer = Customer(account["_id"], kind, fields, {}, [], is_readable, has_odd_referral)
        customer.has_second_date = account.get("expiresAtNew") is not None
        if "apiKey" in account:
            customer.keys[account["apiKey"]] = Key()
        return customer

    def run(self) -> None:
        """All stations, in order."""
        stations: list[tuple[str, Callable[[], None]]] = [
            ("insert the old database", lambda: self.made.insert(self.database)),
            ("inspect, take over", self.take_over),
            ("use", self.use),
            ("three days later: sweep, use", lambda: self.pass_time(timedelta(days=3))),
            ("prepare the roll-back", self.prepare_rollback),
            ("the old programs run", self.run_old_programs),
            ("reconcile --accept, inspect, take over", self.come_again),
            ("use again", self.use),
            ("three days later: sweep, use again", lambda: self.pass_time(timedelta(days=3))),
            ("try every key", lambda: self.try_keys(lambda customer: True)),
        ]
        for name, station in stations:
            started = time.monotonic()
            station()
            self.say(f"{name}: {time.monotonic() - started:.0f} s")

    # --- What is compared ----------------------------------------------------------------------------------------

    def check_credits(self, *, is_decided: bool = True) -> None:
        """Every customer has what the model says, to the cent (and to eight places). Every account is a customer."""
        stored = {account["_id"]: account for account in self.database["usersNew"].find()}
        assert stored.keys() == self.customers.keys()
        for name, customer in self.customers.items():
            account, model = stored[name], customer.account
            dates = [
                date.replace(tzinfo=UTC) for field in ("expiresAt", "expiresAtNew") if (date := account.get(field))
            ]
            assert max(dates, default=None) == model["expiresAt"], (name, customer.kind)
            if not customer.is_readable:
                continue
            for field, balance in FIELDS.items():
                held = sum((usd(one["amount"]) for one in _holds(account, balance)), ZERO)
                assert usd(account.get(field)) + held == model[field], (name, customer.kind, field)
            if not customer.has_odd_referral:
                assert usd(account.get("refCredits")) == model["refCredits"], (name, customer.kind)
            if is_decided:
                assert found(account)["expiresAt"] == model["expiresAt"], (name, customer.kind)
                for flag in ("migration", "isActive"):
                    assert account.get(flag) is model[flag], (name, customer.kind, flag)

    def check_books(self) -> None:
        """`reconcile` is clean; it names those whose documents need repair, and no others."""
        out, err = StringIO(), StringIO()
        with suppress(CommandError):
            call_command("reconcile", stdout=out, stderr=err)
        assert ", 0 with drift" in out.getvalue(), err.getvalue()[:2000]
        damaged = sum(not customer.is_readable for customer in self.customers.values())
        assert err.getvalue().count("not checked:") == damaged

    def try_keys(self, chosen: Callable[[Customer], bool]) -> None:
        """Every key of the chosen customers works here, or is refused, as the model says; and so are strangers'."""
        for customer in filter(chosen, self.customers.values()):
            for text in customer.keys:
                expected = customer.answers(text, self.clock.now)
                # A debt is no question of keys.
                expected = (
                    ("insufficient_credits",) if expected == ("",) and customer.account["credits"] < 0 else expected
                )
                assert _answer(text) in expected, (customer.name, customer.kind, customer.keys[text])
        assert {_answer(text) for text in self.strangers} <= {"invalid_api_key"}

    def try_keys_there(self) -> None:
        """The same of the old proxy, for all of them."""
        for customer in self.customers.values():
            for text, key in customer.keys.items():
                answer = _answer_there(self.database, text)
                assert (answer == customer.name) is customer.works_there(text), (customer, key, answer)

    def _is_loud(self, customer: Customer) -> bool:
        """Two of three customers use their keys before the end; the others' are first used then."""
        return sum(map(ord, customer.name)) % 3 != 0

    # --- Stations ------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Inspect, decide, do it, and be asked nothing more."""
        assert self._inspect()
        options = [*options_of(self.decisions), "--user-keys", "adopt", "--prices"]
        for upstream, content in PRICE_FILES.items():
            (self.files / f"{upstream}.json").write_text(json.dumps(content))
            options.append(f"{upstream}={self.files / f'{upstream}.json'}")
        call_command("take_over", *options, "--yes", "--actor", "staff:olga", stdout=StringIO())
        for customer in self.customers.values():
            customer.take_over(self.decisions, self.clock.now)
        assert self._inspect() == []
        self.check_credits()
        self.check_books()
        self.try_keys(self._is_loud)

    def _inspect(self) -> list[str]:
        out = StringIO()
        with suppress(CommandError):
            call_command("inspect", "--json", stdout=out)
        undecided: list[str] = json.loads(out.getvalue())["must_be_decided"]
        return undecided

    def use(self) -> None:
        """A day of this platform: requests, purchases, transfers, keys; new customers; then everything is compared."""
        deeds = (self.request, self.request, self.buy, self.transfer, self.change_keys)
        for customer in list(self.customers.values()):
            if self._is_loud(customer):
                self.chance.choice(deeds)(customer)
        for _ in range(len(self.customers) // 50 + 1):
            self.join()
        self.check_credits()
        self.check_books()
        self.try_keys(self._is_loud)

    def pass_time(self, span: timedelta) -> None:
        """Time passes: what has expired is swept; and the day after, everybody uses it again."""
        self.clock.now += span
        with suppress(SomeFailed):  # Some documents need repair.
            sweep_expired_accounts()
        for customer in self.customers.values():
            customer.expire(self.clock.now)
        self.check_credits()
        self.use()

    def prepare_rollback(self) -> None:
        """Some requests are cut off, some orders are open; then it is prepared, and once more, which does nothing."""
        for customer in list(self.customers.values()):
            if self._is_loud(customer) and self.chance.random() < 0.1:
                self.request(customer, dies=True)
        some = self.some(lambda one: one.refusal(self.clock.now) is None, 20)
        codes = [orders.create_order(account=Account.objects.get(pk=one.name), credits=20).order_code for one in some]
        self.check_credits()
        self._prepare()
        before = self._contents()
        again = self._prepare()["rows"]
        assert {name for name, row in again.items() if row["done"]} <= {"extra_keys"}  # They stay as they are.
        assert self._contents() == before
        lines = (self.files / "keys").read_text().splitlines()
        new = dict(line.split("\t") for line in lines)
        for customer in self.customers.values():
            customer.prepare_rollback(self.clock.now, new.get(customer.name))
        assert all(key in self.customers[name].keys for name, key in new.items())
        self.check_credits()
        self.check_books()
        self.try_keys(self._is_loud)
        self.try_keys_there()
        for code in codes:
            assert not old_programs.receive_webhook(self.database, str(code), self.clock.naive)

    def _prepare(self) -> dict[str, Any]:
        out, options = StringIO(), {"yes": True, "transfer": True, "expires_in": 7, "cancel_orders": True, "json": True}
        call_command("prepare_rollback", new_keys=self.files / "keys", stdout=out, **options)
        report: dict[str, Any] = json.loads(out.getvalue())
        return report

    def _contents(self) -> list[Any]:
        names = ("usersNew", "user_keys", "payments", "ledger_entries")
        return [list(self.database[name].find().sort("_id")) for name in names]

    def run_old_programs(self) -> None:
        """Days of the old programs: log-ins, requests in batches, purchases, keys, new customers, and timers."""
        timers, proxy = Timers.start(self.database), Proxy(self.database)
        for customer in self.customers.values():
            if customer.is_readable and customer.account["isActive"]:
                self._log_in_there(customer)
        for _ in range(2):
            self._serve_there(proxy)
        for customer in self.some(lambda one: one.is_readable and not one.has_odd_referral, len(self.customers) // 10):
            memo = old_programs.order(self.database, customer.name, 25, self.clock.naive)
            version = self.chance.choice(("single", "dual", "split"))
            assert old_programs.receive_webhook(self.database, memo, self.clock.naive, version=version)
            customer.buy_there(25, self.clock.now, version)
        self._change_keys_there()
        self.clock.now += timedelta(days=4)
        timers.fire(self.database, self.clock.naive)
        for name, at in timers.remembered.items():
            if at <= self.clock.naive:
                self.customers[name].forget_there()
        self._serve_there(proxy)
        self.check_credits(is_decided=False)
        self.try_keys_there()

    def _log_in_there(self, customer: Customer) -> None:
        before = customer.account["credits"]
        told = old_programs.log_in(self.database, customer.name, self.clock.naive)
        customer.log_in_there(self.clock.now)
        assert round(Decimal(told), 8) == customer.account["credits"]
        # What the roll-back prepared nobody loses; of what was never converted it said so.
        is_safe = customer.account["migration"] is True and before > 0
        assert not is_safe or customer.account["credits"] == before, (customer.name, customer.kind)

    def _serve_there(self, proxy: Proxy) -> None:
        """A batch: each customer once, with any key; and the batch is written."""
        waiting: dict[str, Decimal] = {}
        for customer in self.customers.values():
            usable = [text for text in customer.keys if customer.works_there(text)]
            if usable and self.chance.random() < 0.3:
                cost = Decimal(self.chance.randint(1, 9_999)).scaleb(-6)
                is_enough = customer.account["credits"] + customer.account["refCredits"] >= cost
                with suppress(Refused):
                    proxy.serve(self.chance.choice(usable), float(cost), self.clock.naive)
                    assert is_enough
                    waiting[customer.name] = cost
        proxy.flush()
        for name, cost in waiting.items():
            self.customers[name].bill_there(cost)

    def _change_keys_there(self) -> None:
        database, few = self.database, len(self.customers) // 50 + 1
        is_plain: Callable[[Customer], bool] = lambda one: one.first is not None and one.keys[one.first].is_plain  # noqa: E731
        for customer in self.some(is_plain, few):
            customer.replace_key_there(old_programs.replace_key(database, customer.name))
        known = self._keys(lambda key: key.works and key.there)
        for customer, text in self.chance.sample(known, len(known) // 4):
            database["user_keys"].update_one({"_id": text}, {"$set": {"isActive": False}})
            customer.keys[text].there = False
        for customer in self.some(lambda one: True, few):
            text = self.secret()
            database["user_keys"].insert_one({"_id": text, "name": customer.name, "isActive": True, "tokensUsed": 0})
            customer.keys[text] = Key("unknown", there=True)
        for number in range(few):
            name, text = f"made-there-{number}", self.secret()
            account = {
                "apiKey": text,
                "role": "user",
                "isActive": True,
                "migration": True,
                "credits": 3.0,
                "creditsUsed": 0,
            }
            database["usersNew"].insert_one({"_id": name, **account, "expiresAt": self.clock.naive + timedelta(days=7)})
            database["user_keys"].insert_one({"_id": text, "name": name, "isActive": True, "tokensUsed": 0})
            model = found(account) | {"expiresAt": self.clock.now + timedelta(days=7)}
            self.customers[name] = Customer(name, "made there", model, {text: Key(there=True)})

    def come_again(self) -> None:
        """One command tells what was moved, one closes it, and no balance changes; then the take-over again."""
        err = StringIO()
        with suppress(CommandError):
            call_command("reconcile", stdout=StringIO(), stderr=err)
        assert "drift" in err.getvalue()
        before = list(self.database["usersNew"].find().sort("_id"))
        with suppress(CommandError):  # Some documents need repair.
            call_command("reconcile", accept=True, reason="The old programs ran", stdout=StringIO(), stderr=StringIO())
        assert list(self.database["usersNew"].find().sort("_id")) == before
        self.check_books()
        self.check_credits(is_decided=False)
        assert {"expiry", "user_keys"} <= set(self._inspect())
        # What was refused there only because it was here is judged here alone.
        for customer, text in self._keys(lambda key: key.is_ours and key.is_disabled and key.place != "gone"):
            self.set_disabled(customer, text)
        self.take_over()

    def _keys(self, is_meant: Callable[[Key], object]) -> list[tuple[Customer, str]]:
        customers = self.customers.values()
        return [(one, text) for one in customers for text, key in one.keys.items() if is_meant(key) and one.is_readable]


def _holds(account: dict[str, Any], balance: Balance) -> Iterator[dict[str, Any]]:
    holds = account.get("holds")
    return (hold for hold in holds.values() if hold["balance"] == balance) if holds else iter(())


def _answer(text: str) -> str:
    return refusal_of(partial(credits.check_may_hold, api_key=text, balance=Balance.OHMYGPT, minimum=ZERO))


def _answer_there(database: Any, text: str) -> str:
    """Whose key it is for the old proxy, or why it is refused."""
    try:
        return str(old_programs.authenticate(database, text)["_id"])
    except Refused as refused:
        return f"refused: {refused}"
