"""The limits of JSON while it is parsed, and the numbers that it may contain."""

import tracemalloc

import numpy as np
import orjson
import pytest

from serving.api.contents import ContentsError, JSONContents, parse_json
from serving.errors import InvalidRequest


@pytest.mark.parametrize("each", [b"[]", b"{}", b'""', b'{"":0}', b"[[0]]", b"0", b"0.5", b"null"])
def test_json_of_more_values_than_pictures_have_is_refused_unparsed(each: bytes) -> None:
    text = b"[" + b",".join([each] * 20_000) + b"]"
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match=r"more than 10,813 values"):
        parse_json(text, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000


def test_what_else_is_in_a_text_of_any_length_is_no_matter() -> None:
    text = orjson.dumps({"image": "A" * 1_000_000, "other": [0] * 9_000})
    assert parse_json(text, 1) == orjson.loads(text)


def test_as_many_pictures_as_may_be_are_read() -> None:
    pixels = np.zeros((8, 28, 28), np.uint8).tolist()
    assert parse_json(orjson.dumps({"pixels": pixels}), 8) == {"pixels": pixels}


def test_true_and_false_among_numbers_are_one_and_zero() -> None:
    assert JSONContents([True, False, 2]).numbers(np.uint8, 3).tolist() == [1, 0, 2]
    assert JSONContents([True, False, 0.5]).numbers(np.float32, 3).tolist() == [1, 0, 0.5]


@pytest.mark.parametrize("wrong", ["1", None, [1], {}])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_is_no_number_is_said(wrong: object, dtype: type[np.generic]) -> None:
    with pytest.raises(ContentsError, match="not numbers of its datatype"):
        JSONContents([1, wrong]).numbers(dtype, 2)


@pytest.mark.parametrize("wrong", [256, -1, 256.0, -1.0, 1e300, 2**63, 2**64 - 1, -(2**63)])
def test_what_is_no_byte_is_said(wrong: float) -> None:
    with pytest.raises(ContentsError, match="outside 0…255"):
        JSONContents([1, wrong]).numbers(np.uint8, 2)


def test_whole_numbers_may_be_written_as_floats() -> None:
    assert JSONContents([7.0, 8, 255.0]).numbers(np.uint8, 3).tolist() == [7, 8, 255]
    with pytest.raises(ContentsError, match="not whole numbers"):
        JSONContents([7.5, 8]).numbers(np.uint8, 2)
