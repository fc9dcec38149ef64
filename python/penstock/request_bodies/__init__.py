"""Request bodies between Chat Completions and Responses, for gateways that rewrite the streams as well.

    body, lost = responses_request_to_chat(request, unsupported="report")

What the other API has no form for is never lost in silence: it raises `UnsupportedFieldError`, which names
it by its path, or it is left out and its path reported. Members that neither API knows are unsupported too,
unless ``extra="keep"`` passes them on as they are. Bodies are not changed; values are shared with them.
"""

from penstock.request_bodies.common import Converted, UnsupportedFieldError
from penstock.request_bodies.to_chat import responses_request_to_chat
from penstock.request_bodies.to_responses import chat_request_to_responses

__all__ = ["Converted", "UnsupportedFieldError", "chat_request_to_responses", "responses_request_to_chat"]
