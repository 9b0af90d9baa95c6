"""JSON from outside: what is refused, and that reading it takes time and memory that grow with its size alone."""

import json
import time
import tracemalloc
from collections.abc import Callable
from decimal import Decimal

import pytest

from border.strict_json import MOST_DEPTH, MOST_NODES, InvalidJson, check_bounds, parse, parsed_size

MIB = 1024 * 1024


def seconds_of(function: Callable[[], object]) -> float:
    """Of the processor, not of the clock: other tests run beside this one."""
    start = time.process_time()
    function()
    return time.process_time() - start


def refusal_of(body: bytes) -> str:
    with pytest.raises(InvalidJson) as raised:
        parse(body)
    return str(raised.value)


def names(count: int) -> bytes:
    return b"{" + b",".join(b'"%06d":1' % (number % (count - 1)) for number in range(count)) + b"}"


def test_a_repeated_name_among_many_is_found_at_once() -> None:
    body = names(40_000)
    assert seconds_of(lambda: refusal_of(body)) < 2, "it took 20 s when each name was counted"
    with pytest.raises(InvalidJson, match="'000000' occurs twice") as raised:
        parse(body)
    assert raised.value.name == "000000"


@pytest.mark.parametrize(
    "piece", [b"[", b"{", b'{"a":', b"{},", b"[],", b"1,", b'"",', b'"a":', b'"\\\\",', b'{"a":{}},', b'"\\"', b"[1"]
)
def test_too_much_is_refused_before_it_is_parsed(piece: bytes) -> None:
    body = b"[" + piece * (8 * MIB // len(piece))
    tracemalloc.start()
    try:
        assert seconds_of(lambda: refusal_of(body)) < 2
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(body)


@pytest.mark.parametrize(
    "text",
    [
        'if (x) { y = [1, 2, {"a": "b"}]; }\n',
        '{"a":' * 10 + "[" * 100,
        '"',
        "\\",
        '\\"',
        "\\\\",
        "{}[],:",
        "đ\U0001f600",
    ],
)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_what_stands_in_a_text_does_not_count(text: str, is_ascii: bool) -> None:
    value = {"messages": [{"role": "user", "content": text * (4 * MIB // len(text.encode()))}]}
    assert parse(json.dumps(value, ensure_ascii=is_ascii).encode()) == value


def test_so_many_values_pass_and_no_more() -> None:
    body = b"[" + b"1," * (MOST_NODES - 2)
    assert len(parse(body + b"1]")) == MOST_NODES - 1
    assert refusal_of(body + b"1,1]") == f"The body has more than {MOST_NODES:,} values and names."


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_so_many_levels_pass_and_no_more(opening: bytes, closing: bytes) -> None:
    """The same limit on every version of Python."""
    inner = b"1" if closing == b"}" else b""
    assert parse(opening * MOST_DEPTH + inner + closing * MOST_DEPTH)
    assert parse(b"[" + (b"[" * 500 + b"]" * 500 + b",") * 50 + b"1]")
    depth = MOST_DEPTH + 1
    assert refusal_of(opening * depth + inner + closing * depth) == "The body is nested too deeply."
    assert refusal_of(opening * depth) == "The body is nested too deeply."
    assert refusal_of(b'"\\"["' + opening * 100_000) == "The body is nested too deeply."


DEAR = {
    "empty objects": b"{}",
    "objects": b'{"a":1}',
    "nested": b'{"a":{"a":{"a":1}}}',
    "lists": b"[[[1]]]",
    "numbers": b"1.5",
    "integers": b"1234567890123",
    "short texts": b'"ab"',
    "letters of two bytes": '"đ"'.encode(),
    "letters of four bytes": '"\U0001f600bcd"'.encode(),
    "escaped letters": b'"\\ud83d\\ude00bcd"',
}


@pytest.mark.parametrize("value", DEAR.values(), ids=DEAR)
def test_parsing_takes_no_more_memory_than_was_said(value: bytes) -> None:
    _assert_estimate(b"[" + b",".join([value] * 20_000) + b"]")


@pytest.mark.parametrize("name", [b'"%06d":1', b'"%06d":"ab"', b'"%040d":{}', b'"%06d\\ud83d\\ude00":1.5'])
def test_names_take_no_more_memory_than_was_said(name: bytes) -> None:
    _assert_estimate(b"{" + b",".join(name % number for number in range(20_000)) + b"}")


def _assert_estimate(body: bytes) -> None:
    said = parsed_size(body, check_bounds(body))
    tracemalloc.start()
    try:
        kept = parse(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept
    assert peak <= said


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": NaN}', "NaN is not valid JSON."),
        (b"[-Infinity]", "-Infinity is not valid JSON."),
        (b"1e400", "The number 1e400 is too large."),
        (b"9" * 100_000, "The body holds a number with too many digits."),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "The name 'c' occurs twice in one JSON object."),
        (b'"\xff"', "The body is not UTF-8 text."),
        (b'"\xed\xa0\x80"', "The body is not UTF-8 text."),
        (b"\xef\xbb\xbf{}", "The body is not valid JSON: "),
        (b"", "The body is not valid JSON: "),
        (b'{"a": 1,}', "The body is not valid JSON: "),
        ("[１]".encode(), "The body is not valid JSON: "),
        (b"[1_0]", "The body is not valid JSON: "),
    ],
)
def test_what_is_no_json_is_refused(body: bytes, why: str) -> None:
    assert refusal_of(body).startswith(why)


def test_numbers_may_be_exact() -> None:
    assert parse(b"[0.1, 1e2, 3]", parse_float=Decimal) == [Decimal("0.1"), Decimal("1e2"), 3]
    with pytest.raises(InvalidJson, match="too large"):
        parse(b"1e9999999999999999999", parse_float=Decimal)


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        (r"\ud83d\ude00", False),
        (r"\uD83D\uDE00\\ud800", False),
        (r"\\\\ud800", False),
        ("\U0001f600", False),
        (r"\ud800", True),
        (r"\udc00\ud800", True),
        (r"\\\ud800", True),
        (r"\ud83d\\\ude00", True),
        (r"\ud83d\ud83d\ude00", True),
    ],
)
def test_half_a_character_is_refused_where_it_cannot_be_kept(text: str, is_refused: bool) -> None:
    body = f'{{"a": "{text}"}}'.encode()
    parse(body)
    if is_refused:
        with pytest.raises(InvalidJson, match="half of a surrogate pair"):
            parse(body, refuses_half_characters=True)
    else:
        parse(body, refuses_half_characters=True)["a"].encode()
