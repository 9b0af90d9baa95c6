"""Names by a part of them, whatever their capitals and diacritics."""

import re
import unicodedata
from typing import Any

import pytest

from support.search import names
from support.search.names import find_names
from tests.factories import InsertUser

OF_NGUYEN = "Nguyễn Văn A"


@pytest.mark.parametrize(
    "text", ["nguyen", "NGUYỄN", "văn", "van a", "vana", "uye", "nguyen-van", unicodedata.normalize("NFD", "Nguyễn")]
)
def test_a_part_of_a_name_finds_it(insert_user: InsertUser, text: str) -> None:
    decomposed = unicodedata.normalize("NFD", "Trần Nguyễn Văn Anh")
    for name in (OF_NGUYEN, " old nguyen_van.a", decomposed, "bob", "ng(uy)en"):
        insert_user(name)
    found = find_names(text, most=10)
    assert {OF_NGUYEN, " old nguyen_van.a", decomposed} == set(found.names)
    assert found.stopped_at is None


def test_letters_that_unicode_does_not_take_apart(insert_user: InsertUser) -> None:
    insert_user("Đặng Đức")
    assert find_names("dang duc", most=10).names == ["Đặng Đức"]
    assert find_names("đức", most=10).names == ["Đặng Đức"]


@pytest.mark.parametrize("text", ["", "a", " . ", "(", ".*", "[a-z]", "\\", "$gt", "a" * 500])
def test_what_is_too_short_or_looks_like_a_pattern_finds_nothing(insert_user: InsertUser, text: str) -> None:
    insert_user("alice")
    insert_user("b1")
    assert find_names(text, most=10).names == []


def test_every_pattern_is_one() -> None:
    for number in range(0x250):
        re.compile(names.pattern_of(f"a{chr(number)}b"))


def test_it_is_known_where_it_stopped(insert_user: InsertUser, monkeypatch: Any) -> None:
    monkeypatch.setattr(names, "PART", 3)
    for number in range(10):
        insert_user(f"user{number}")
    insert_user("xkim")
    first = find_names("ser", most=4)
    assert (first.names, first.stopped_at) == (["user0", "user1", "user2", "user3"], "user3")
    rest = find_names("ser", most=20, after="user3")
    assert (rest.names, rest.stopped_at) == ([f"user{number}" for number in range(4, 10)], None)
    assert (find_names("kim", most=4, seconds=0).names, find_names("kim", most=4, seconds=0).stopped_at) == (
        [],
        "user2",
    )
    assert find_names("kim", most=4).names == ["xkim"]


def test_keys_that_are_no_text_do_no_harm(insert_user: InsertUser, usersnew: Any) -> None:
    usersnew.insert_many([{"_id": 5}, {"_id": {"a": "nguyen"}}, {"_id": None}])
    insert_user(OF_NGUYEN)
    assert find_names("nguyen", most=10).names == [OF_NGUYEN]
