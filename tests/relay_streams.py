"""Streams that the tests of relays and responses send through, one of each dialect, as frames."""

from __future__ import annotations

from typing import Any, Final

from penstock import Decoder, Transcoder, synthesize, write_events

USAGE: Final = {"input_tokens": 7, "output_tokens": 30, "total_tokens": 37}

RESPONSE: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Which gate is open?"}],
        },
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "A sluice, ein Schütz, 水門.\u2028And a weir.",
                    "annotations": [],
                    "logprobs": [],
                },
                {"type": "refusal", "refusal": "Not that."},
            ],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "gauge",
            "arguments": '{"river":"Rhône"}',
        },
        {
            "id": "ctc_1",
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_2",
            "name": "pump",
            "input": "on",
        },
    ],
    "usage": USAGE,
}

RESPONSES: Final = list(synthesize(RESPONSE, format="sse"))
"""The frames of a Responses stream with each kind of thing that streams."""


def _chat() -> list[bytes]:
    transcoder = Transcoder(
        "responses", "chat", model="m", id="chatcmpl-1", include_usage=True, now=lambda: 1
    )
    whole = b"".join(transcoder.feed(frame) for frame in RESPONSES) + transcoder.finish()
    return [frame + b"\n\n" for frame in whole.split(b"\n\n") if frame]


CHAT: Final = _chat()
"""The frames of the same as Chat Completions, `[DONE]` included."""

_MESSAGES: Final[list[dict[str, Any]]] = [
    {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in ("A", " sluice", ".")
    ),
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]
MESSAGES: Final = [write_events(event) for event in _MESSAGES]
"""The frames of a Messages stream."""

STREAMS: Final = {"responses": RESPONSES, "chat": CHAT, "messages": MESSAGES}


def terminals(stream: bytes, dialect: str) -> list[str]:
    """What ends a stream, by the type of each event; a Chat Completions stream has words of its own."""
    decoder = Decoder(eof="spec", sentinel=None)
    found = []
    for event in decoder.feed(stream) + decoder.finish():
        if event.data == b"[DONE]":
            found.append("[DONE]")
        elif dialect == "chat":
            found += ["error"] if "error" in event else []
        elif event.type in ENDS:
            found.append(event.type)
    return found


ENDS: Final = {
    "response.completed",
    "response.failed",
    "response.incomplete",
    "response.cancelled",
    "error",
    "message_stop",
}
