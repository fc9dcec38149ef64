"""The decoder against the vectors and its naive twin, however the input is cut and whatever carries it."""

import contextlib
import re
from array import array
from collections.abc import Iterator
from typing import Any

import oracles
import pytest
from cases import StreamCase, stream_cases
from feeding import CARRIERS, Outcome, feedings, run, split
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import ConcurrencyError, DecodeError, Decoder

SSE = stream_cases("sse")
NDJSON = stream_cases("ndjson")


def is_utf8(stream: bytes) -> bool:
    return stream == stream.decode("utf-8", "ignore").encode()


def decoder_for(case: StreamCase, **more: Any) -> Decoder:
    return Decoder(framing="ndjson" if case in NDJSON else "sse", **{**case.options, **more})


def expect(case: StreamCase, outcome: Outcome) -> None:
    """Hold an outcome to its vector, payloads decoded as the standard decodes the stream."""
    seen = [
        (event.data.decode("utf-8", "replace"), event.name, event.id, event.flushed)
        for event in outcome.events
    ]
    assert seen == [(event.data, event.name, event.id, event.flushed) for event in case.events]
    for event, expected in zip(outcome.events, case.events, strict=True):
        assert expected.type in (event.type, None)
    assert (outcome.retry, outcome.last_event_id, outcome.comments, outcome.done) == (
        case.retry,
        case.last_event_id,
        case.comments,
        case.done,
    )
    assert (outcome.non_sse_body, outcome.error) == (case.non_sse_body, None)


@pytest.mark.parametrize("case", SSE + NDJSON, ids=str)
def test_vector_however_it_is_cut(case: StreamCase) -> None:
    whole = run(decoder_for(case), [case.stream])
    expect(case, whole)
    for chunks in feedings(case.stream):
        assert run(decoder_for(case), chunks) == whole, chunks


@pytest.mark.parametrize("carrier", CARRIERS)
def test_vectors_in_every_bytes_like_type(carrier: str) -> None:
    carry = CARRIERS[carrier]
    for case in SSE + NDJSON:
        whole = run(decoder_for(case), [case.stream])
        for chunks in feedings(case.stream, random_splits=1):
            assert run(decoder_for(case), map(carry, chunks)) == whole, (case, chunks)


@pytest.mark.parametrize("case", [case for case in SSE + NDJSON if case.invalid_utf8], ids=str)
def test_strict_refuses_invalid_utf8_wherever_it_is_cut(case: StreamCase) -> None:
    whole = run(decoder_for(case, errors="strict"), [case.stream])
    assert whole.error is not None
    name, _reason, offset = whole.error
    assert name == "DecodeError"
    assert isinstance(offset, int)
    with pytest.raises(UnicodeDecodeError) as refused:
        case.stream.decode()
    assert offset == refused.value.start
    for chunks in feedings(case.stream):
        assert run(decoder_for(case, errors="strict"), chunks) == whole, chunks


@pytest.mark.parametrize("case", [case for case in SSE + NDJSON if is_utf8(case.stream)], ids=str)
def test_strict_changes_nothing_about_valid_streams(case: StreamCase) -> None:
    expect(case, run(decoder_for(case, errors="strict"), [case.stream]))


LINE_ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r"])
FIELDS = st.sampled_from(
    [
        b"data",
        b"data",
        b"data",
        b"event",
        b"id",
        b"retry",
        b"",
        b"Data",
        b"dat",
        b"foo",
        b" data",
        b"\xef\xbb\xbfdata",
    ]
)
COLONS = st.sampled_from([b":", b": ", b": ", b":  ", b":\t", b"", b"::"])
VALUES = st.one_of(
    st.sampled_from(
        [b"", b"x", b"{}", b"3000", b"03", b"+5", b"\x00", b"\xff", b"\xe2\x82", b"[DONE]", b"\xc2\x85"]
    ),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=8),
)
LINES = st.tuples(FIELDS, COLONS, VALUES, LINE_ENDS).map(b"".join)
STREAMS = st.one_of(
    st.lists(st.one_of(LINES, LINE_ENDS), max_size=14).map(b"".join),
    st.lists(st.one_of(LINES, LINE_ENDS, st.binary(max_size=3)), max_size=14).map(b"".join),
    st.binary(max_size=60),
).flatmap(lambda stream: st.sampled_from([stream, b"\xef\xbb\xbf" + stream]))


@settings(max_examples=1_500, deadline=None, derandomize=True)
@given(STREAMS, st.data())
def test_decoder_equals_its_naive_twin(stream: bytes, data: st.DataObject) -> None:
    expected = oracles.decode_event_stream(stream)
    positions = st.integers(0, len(stream))
    cuts = data.draw(st.lists(positions, max_size=8).map(sorted))
    for chunks in ([stream], split(stream, cuts), [stream[at : at + 1] for at in range(len(stream))]):
        outcome = run(Decoder(sentinel=None), chunks)
        assert [
            oracles.Dispatched(event.name or "", event.data.decode("utf-8", "replace"), event.id or "")
            for event in outcome.events
        ] == expected.events
        assert (outcome.last_event_id, outcome.comments) == (expected.last_event_id, expected.comments)
        assert outcome.retry == expected.retry
        assert outcome.error is None


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    st.lists(st.one_of(st.binary(max_size=12), st.just(b"{}"), st.just(b"\n"), st.just(b"\r\n"))).map(
        b"".join
    )
)
def test_ndjson_equals_splitting_at_lf(stream: bytes) -> None:
    text = stream.removeprefix(b"\xef\xbb\xbf")
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n")[:-1]]
    expected = [line for line in lines if line.strip(b" \t\n\r\x0c")]
    for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        outcome = run(Decoder(framing="ndjson", sentinel=None), chunks)
        assert [event.data for event in outcome.events] == expected


def test_payload_bytes_are_untouched() -> None:
    payload = b'{"n": 1.50e+03,  "s":"\\u00e9\xff\\/", "n":12345678901234567890123}'
    (event,) = Decoder().feed(b"data: " + payload + b"\n\n")
    assert event.data == payload


def test_events_do_not_depend_on_the_chunk_after_feed() -> None:
    chunk = bytearray(b"event: n\nid: i\ndata: first\n\ndata: second")
    decoder = Decoder()
    (event,) = decoder.feed(chunk)
    chunk[:] = b"x" * len(chunk)
    chunk.clear()  # not possible while somebody still holds the buffer
    assert (event.data, event.name, event.id) == (b"first", "n", "i")
    assert [event.data for event in decoder.feed(b"\n\n")] == [b"second"]


def test_counters_add_up_over_chunks() -> None:
    decoder = Decoder()
    assert (decoder.bytes, decoder.events, decoder.comments, decoder.done, decoder.failed) == (
        0,
        0,
        0,
        False,
        False,
    )
    assert (decoder.retry, decoder.last_event_id, decoder.non_sse_body) == (None, "", None)
    stream = b": c\nid: 7\nretry: 10\ndata: a\n\n: d\ndata: b\n\n"
    for at in range(len(stream)):
        decoder.feed(stream[at : at + 1])
        assert decoder.bytes == at + 1
    assert (decoder.events, decoder.comments, decoder.retry, decoder.last_event_id) == (2, 2, 10, "7")


def test_empty_chunks_change_nothing() -> None:
    decoder = Decoder()
    assert decoder.feed(b"") == []
    assert decoder.feed(b"data: a") == []
    assert decoder.feed(bytearray()) == []
    assert [event.data for event in decoder.feed(b"\n\n")] == [b"a"]
    assert decoder.bytes == 9


def test_done_ignores_everything_after_it() -> None:
    decoder = Decoder()
    (event,) = decoder.feed(b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n")
    assert event.data == b"1"
    assert decoder.done
    assert decoder.feed(b"data: 3\n\nid: 4\n\n" * 10) == []
    assert decoder.finish() == []
    assert (decoder.events, decoder.last_event_id, decoder.failed) == (1, "", False)


def test_finish_is_idempotent() -> None:
    decoder = Decoder(eof="flush")
    decoder.feed(b'data: {"a":1}')
    (event,) = decoder.finish()
    assert event.flushed
    assert decoder.finish() == []
    assert decoder.finish(fields=("type",)) == []


def test_finish_of_a_fresh_decoder() -> None:
    assert Decoder().finish() == []
    assert Decoder(framing="ndjson", eof="flush").finish() == []


def test_strict_error_keeps_the_events_before_it_and_stays() -> None:
    decoder = Decoder(errors="strict")
    with pytest.raises(DecodeError) as refused:
        decoder.feed(b"data: good\n\ndata: \xff\n\ndata: lost\n\n")
    assert [event.data for event in refused.value.events] == [b"good"]
    assert refused.value.offset == 18
    assert decoder.failed
    with pytest.raises(DecodeError) as again:
        decoder.feed(b"data: more\n\n")
    assert (again.value.offset, again.value.events) == (18, [])
    with pytest.raises(DecodeError):
        decoder.finish()


def test_the_error_that_stopped_it_is_kept() -> None:
    decoder = Decoder(errors="strict")
    assert decoder.error is None
    with pytest.raises(DecodeError):
        decoder.feed(b"data: \xff\n\n")
    assert isinstance(decoder.error, DecodeError)
    assert decoder.error.offset == 6


def test_fields_that_fail_while_they_are_read_change_nothing() -> None:
    decoder = Decoder()

    class Failing(tuple[str, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            with contextlib.suppress(ConcurrencyError):  # refused or served, but never stuck
                decoder.feed(b": from within\n\n")
            raise LookupError

    with pytest.raises(LookupError):
        decoder.feed(b"data: x\n\n", fields=Failing())
    assert (decoder.events, decoder.failed) == (0, False)
    assert decoder.feed(b"data: y\n\n", fields=("data",)) == [(b"y",)]


def test_fields_may_be_any_sequence_and_may_change_between_calls() -> None:
    decoder = Decoder()
    fields = ["data", "name"]
    assert decoder.feed(b"event: n\ndata: x\n\n", fields=fields) == [(b"x", "n")]
    fields[:] = ["name"]
    assert decoder.feed(b"event: n\ndata: x\n\n", fields=fields) == [("n",)]
    assert decoder.feed(b"event: n\ndata: x\n\n", fields=("type", "data")) == [("n", b"x")]
    assert [event.name for event in decoder.feed(b"event: n\ndata: x\n\n")] == ["n"]


def test_strict_looks_at_names_and_ids_too() -> None:
    for stream in (b"event: \xff\ndata: x\n\n", b"id: \xff\ndata: x\n\n"):
        with pytest.raises(DecodeError) as refused:
            Decoder(errors="strict").feed(stream)
        assert refused.value.offset == stream.index(b"\xff")


@pytest.mark.parametrize(
    "options",
    [
        {"framing": "aws"},
        {"framing": ""},
        {"eof": "drop"},
        {"errors": "ignore"},
    ],
    ids=str,
)
def test_unknown_option_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(next(iter(options)))):
        Decoder(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"framing": None},
        {"framing": 1},
        {"sentinel": 5},
        {"sentinel": "[DONE]"},
        {"limits": {}},
        {"colour": "red"},
    ],
    ids=str,
)
def test_options_of_the_wrong_type_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Decoder(**options)


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        Decoder("sse")  # type: ignore[call-arg]


@pytest.mark.parametrize("chunk", ["data: x\n\n", None, 5, [b"x"], object()], ids=repr)
def test_what_holds_no_bytes_is_refused(chunk: Any) -> None:
    decoder = Decoder()
    with pytest.raises(TypeError):
        decoder.feed(chunk)
    assert not decoder.failed
    assert [event.data for event in decoder.feed(b"data: x\n\n")] == [b"x"]


@pytest.mark.parametrize(
    "chunk",
    [memoryview(b"data: x\n\n")[::2], memoryview(b"ab").cast("c"), array("d", [1.0])],
    ids=["strided", "c", "d"],
)
def test_odd_buffers_are_read_as_bytes_or_refused(chunk: Any) -> None:
    decoder = Decoder()
    try:
        decoder.feed(chunk)
    except (TypeError, BufferError):
        assert not decoder.failed
    else:
        assert decoder.bytes == chunk.nbytes if isinstance(chunk, memoryview) else len(chunk.tobytes())
