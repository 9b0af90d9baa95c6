"""Edits of a request body: what must change changes, every other byte stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.json_body import ABSENT, parse_object, with_members, without_tools

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=6)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b' { "model" : "a" , "temperature":1e2,"x":[1.0, {"model":"a"}],\n"s":"h\xc3\xa9 \\u00e9" } ',
            b' { "model" : "b" , "temperature":1e2,"x":[1.0, {"model":"a"}],\n"s":"h\xc3\xa9 \\u00e9" } ',
        ),
        (
            b'{"x":{"model":"a"},"\\"model":"\\"model\\":","model":"a"}',
            b'{"x":{"model":"a"},"\\"model":"\\"model\\":","model":"b"}',
        ),
        (b'{"mod\\u0065l":"a","n":12345678901234567890123}', b'{"mod\\u0065l":"b","n":12345678901234567890123}'),
        (b'{"s":"\\ud800","model":"a"}', b'{"s":"\\ud800","model":"b"}'),
    ],
)
def test_only_the_changed_value_changes(body: bytes, expected: bytes) -> None:
    assert with_members(body, parse_object(body), {"model": "b"}) == expected


def test_new_members_are_put_in_front_and_changed_ones_stay_where_they_are() -> None:
    body = b'{"a": 1.0, "stream_options" : {"x": 1} ,"model":"m"}'
    changes = {"stream_options": {"include_usage": True}, "model": "other", "max_tokens": 5}
    assert with_members(body, parse_object(body), changes) == (
        b'{"max_tokens":5,"a": 1.0, "stream_options" : {"include_usage":true} ,"model":"other"}'
    )


@given(objects, values, st.booleans(), st.sampled_from([None, 1]))
def test_it_means_the_same_as_a_changed_object(
    parsed: dict[str, object], value: object, is_ascii: bool, indent: int | None
) -> None:
    body = json.dumps(parsed | {"model": "m"}, ensure_ascii=is_ascii, indent=indent).encode()
    changes = {"model": value, "max_tokens": 7}
    edited = with_members(body, parse_object(body), changes)
    assert json.loads(edited) == parsed | changes
    restored = with_members(edited, parse_object(edited), {"model": "m"})
    assert restored.endswith(body[1:])


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("a", b'{ "b" : 2 , "c":3}'),
        ("b", b'{"a":1 , "c":3}'),
        ("c", b'{"a":1, "b" : 2 }'),
        ("ab", b'{ "c":3}'),
        ("bc", b'{"a":1 }'),
        ("ac", b'{ "b" : 2 }'),
        ("abc", b"{}"),
    ],
)
def test_a_member_that_is_left_out_takes_one_comma_with_it(absent: str, expected: bytes) -> None:
    body = b'{"a":1, "b" : 2 , "c":3}'
    assert with_members(body, parse_object(body), dict.fromkeys(absent, ABSENT)) == expected


@given(objects.filter(bool), st.data(), values, st.sampled_from([None, 1]))
def test_any_members_may_be_left_out_and_replaced(
    parsed: dict[str, object], data: st.DataObject, value: object, indent: int | None
) -> None:
    body = json.dumps(parsed, indent=indent).encode()
    absent = data.draw(st.sets(st.sampled_from(sorted(parsed))))
    replaced = data.draw(st.sets(st.sampled_from(sorted(parsed)))) - absent
    changes = dict.fromkeys(absent, ABSENT) | dict.fromkeys(replaced, value)
    left = {name: value if name in replaced else kept for name, kept in parsed.items() if name not in absent}
    assert json.loads(with_members(body, parse_object(body), changes)) == left


def test_tools_are_left_out_by_their_places() -> None:
    parsed = {"tools": ["a", "b", "c"], "tool_choice": "auto", "parallel_tool_calls": True, "x": 1}
    assert without_tools(parsed, ()) == {}
    assert without_tools(parsed, (0, 2)) == {"tools": ["b"]}
    assert without_tools(parsed, (0, 1, 2)) == dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls"), ABSENT)
