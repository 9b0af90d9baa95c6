"""What the operator pays never reaches a customer, and nothing else of an answer changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.operator_costs import tells_costs, without_costs

CASES = [
    (
        b'{"id":"x" , "usage" : { "cost" : 3.5e-05 , "prompt_tokens":1, "cost_details": {"a":[1,2]} ,"is_byok":0} }',
        b'{"id":"x" , "usage" : { "prompt_tokens":1} }',
    ),
    (b'{"usage":{"a":{"b":1,"upstream_inference_cost":2}}}', b'{"usage":{"a":{"b":1}}}'),
    (b'{"usage":{"cost":1}}', b'{"usage":{}}'),
    (b'{"_hidden_params": {"api_base":"http://x"}, "id":1}', b'{ "id":1}'),
    (b'{"id":1,"response_cost":2}', b'{"id":1}'),
    (b'{"id":1,"x-litellm-model":2,"litellm_call_id":"x"}', b'{"id":1}'),
    (b'{"message":{"usage":{"cost":1,"input_tokens":2}}}', b'{"message":{"usage":{"input_tokens":2}}}'),
    (b'{"choices":[{"delta":{"a":"cost"},"usage":{"cost":1}}]}', b'{"choices":[{"delta":{"a":"cost"},"usage":{}}]}'),
    (b'{"x_groq":{"usage":{"total_cost":1,"queue_time":2}}}', b'{"x_groq":{"usage":{"queue_time":2}}}'),
    (b'\n {"usage": {"cost_in_usd_ticks": 5}}\n', b'\n {"usage": {}}\n'),
]


@pytest.mark.parametrize(("data", "clean"), CASES)
def test_costs_are_left_out_and_every_other_byte_is_kept(data: bytes, clean: bytes) -> None:
    assert tells_costs(json.loads(data))
    assert without_costs(data) == clean
    assert without_costs(clean) == clean


@pytest.mark.parametrize(
    "data",
    [
        b'{"id":1,"choices":[{"message":{"content":"the cost"}}],"usage":{"prompt_tokens":1,"total_tokens":2}}',
        b'{"content":[{"type":"tool_use","input":{"cost":5,"usage":{"cost":1}}}],"usage":{"input_tokens":1}}',
        b'{"usage":null}',
        b'{"usage":{"service_tier":"standard","prompt_tokens_details":{"cached_tokens":1},"iterations":[{"type":"x"}]}}',
        b"{}",
    ],
)
def test_an_answer_without_costs_is_as_it_was(data: bytes) -> None:
    assert not tells_costs(json.loads(data))
    assert without_costs(data) == data


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["usage", "choices", "cost", "message", "a", "is_byok"]), inner, max_size=4),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["usage", "cost", "message", "a", "_x"]), values, max_size=4), st.integers(0, 3))
def test_any_object_stays_json_and_tells_no_costs(answer: dict[str, object], indent: int) -> None:
    data = json.dumps(answer, indent=indent or None).encode()
    clean = without_costs(data)
    assert not _has_cost(json.loads(clean))
    if not tells_costs(answer):
        assert json.loads(clean) == answer


def _has_cost(answer: object) -> bool:
    """Whether a cost stands in a usage object of the answer's own, or at its top."""
    if not isinstance(answer, dict):
        return False
    usage = answer.get("usage")
    return "cost" in answer or "_x" in answer or (isinstance(usage, dict) and bool({"cost", "is_byok"} & usage.keys()))


@pytest.mark.parametrize("data", [b"", b"[", b"{", b'{"a"', b'{"a":', b'{"usage":{"cost":1', b"nonsense"])
def test_what_is_no_json_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="no whole JSON object"):
        without_costs(data)
