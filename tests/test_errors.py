"""The exception tree, and its promises: facts as attributes, pickling, no secrets in words."""

import copy
import pickle
from typing import Any

import pytest

from penstock import errors

TREE: dict[str, tuple[type[BaseException], ...]] = {
    "DecodeError": (errors.PenstockError, ValueError),
    "IllegalEvent": (errors.PenstockError, ValueError),
    "UnhashableItem": (errors.PenstockError, TypeError, ValueError),
    "LimitExceeded": (errors.PenstockError,),
    "IncompleteStream": (errors.PenstockError,),
    "OutcomeUnknown": (errors.IncompleteStream,),
    "StreamTimeout": (errors.PenstockError, TimeoutError),
    "ResponseError": (errors.PenstockError,),
    "ClientDisconnected": (errors.PenstockError,),
    "GuardFailed": (errors.PenstockError,),
    "InvalidResponseId": (errors.PenstockError,),
    "PreviousResponseNotFound": (errors.PenstockError,),
    "TurnConflict": (errors.PenstockError,),
    "StoreUnavailable": (errors.PenstockError,),
    "ConcurrencyError": (errors.PenstockError, RuntimeError),
    "InternalError": (errors.PenstockError,),
}

CANARY = "sk-canary-5f2a"

EXAMPLES: list[tuple[type[errors.PenstockError], dict[str, Any]]] = [
    (errors.DecodeError, {"offset": 7, "reason": "utf8", "events": ["one", "two"]}),
    (
        errors.LimitExceeded,
        {"limit": "max_line_bytes", "maximum": 8, "value": 9, "offset": 9, "events": ["one"]},
    ),
    (errors.IllegalEvent, {"rule": "after_item_done", "event": "response.output_text.delta"}),
    (errors.UnhashableItem, {"reason": "type", "path": f"[0].{CANARY}"}),
    (errors.IncompleteStream, {"partial": {"output": [CANARY]}, "reason": "eof"}),
    (
        errors.OutcomeUnknown,
        {
            "partial": {"output": [CANARY]},
            "reason": "connection_lost",
            "response_id": "r",
            "close_code": 1006,
        },
    ),
    (errors.StreamTimeout, {"kind": "idle", "seconds": 2.5, "partial": {"output": [CANARY]}}),
    (
        errors.ResponseError,
        {
            "status": 429,
            "error": {"message": CANARY, "code": "rate_limit"},
            "code": "rate_limit",
            "type": "requests",
            "param": None,
            "request_id": "req_1",
            "body": CANARY.encode(),
        },
    ),
    (errors.ClientDisconnected, {"partial": {"output": [CANARY]}}),
    (errors.GuardFailed, {"code": "content_filter"}),
    (errors.InvalidResponseId, {"events": [b"data: {}\n\n"]}),
    (errors.PreviousResponseNotFound, {}),
    (errors.TurnConflict, {}),
    (errors.StoreUnavailable, {"backend": "redis", "reason": "READONLY"}),
    (errors.ConcurrencyError, {}),
    (errors.InternalError, {}),
]

each_error = pytest.mark.parametrize(
    ("kind", "fields"), EXAMPLES, ids=[kind.__name__ for kind, _fields in EXAMPLES]
)


def test_tree_is_exported_and_drawn() -> None:
    assert errors.__doc__ is not None
    assert {*TREE, "PenstockError"} == set(errors.__all__)
    for name, bases in TREE.items():
        assert getattr(errors, name).__bases__ == bases
        assert f"── {name} " in errors.__doc__


@each_error
def test_fields_survive_pickle_and_copy(kind: type[errors.PenstockError], fields: dict[str, Any]) -> None:
    error = kind("what happened", **fields)
    error.add_note("seen in a test")
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    twins = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    for twin in [error, copy.copy(error), copy.deepcopy(error), *twins]:
        assert type(twin) is kind
        assert twin.args == ("what happened",)
        assert str(twin) == "what happened"
        assert {name: getattr(twin, name) for name in fields} == fields
        assert twin.__notes__ == ["seen in a test"]


@each_error
def test_words_hold_the_message_alone(kind: type[errors.PenstockError], fields: dict[str, Any]) -> None:
    error = kind("what happened", **fields)
    assert str(error) == "what happened"
    assert repr(error) == f"{kind.__name__}('what happened')"


def test_events_are_the_errors_own_list() -> None:
    first, second = errors.DecodeError("a"), errors.DecodeError("b")
    first.events.append("event")
    assert second.events == []
    assert (second.offset, second.reason) == (None, None)


def test_response_error_bounds_its_body() -> None:
    error = errors.ResponseError("HTTP 500", body=bytes(errors.MAX_BODY_BYTES + 1))
    assert len(error.body) == errors.MAX_BODY_BYTES


def test_previous_response_not_found_speaks_the_apis_words() -> None:
    error = errors.PreviousResponseNotFound("no store knows it")
    assert (error.status, error.code) == (400, "previous_response_not_found")
    assert error.param == "previous_response_id"
