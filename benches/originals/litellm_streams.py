"""Lets LiteLLM make Responses streams and writes them down, one JSON line a stream: its name and its events.

    python litellm_streams.py URL NAME…

Of a name that begins with "replay-" it is the fake stream of the upstream's response, of others what the
bridge makes of the upstream's chat stream. LiteLLM cannot work with the openai package's 3.x, so this runs in
a process that finds LiteLLM's own packages first.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    url, *names = sys.argv[1:]
    import litellm  # noqa: PLC0415 - it takes seconds, and prints

    litellm.suppress_debug_info = True
    for name in names:
        bridge = not name.startswith("replay-")
        stream = litellm.responses(
            model=f"openai/{name}",
            input="x",
            stream=True,
            api_base=url,
            api_key="k",
            num_retries=0,
            use_chat_completions_api=bridge,
        )
        print(json.dumps([name, type(stream).__name__, events(stream)]), flush=True)


def events(stream: Any) -> list[str]:
    """The events as its proxy writes them, up to an exception."""
    made = []
    try:
        for event in stream:
            made.append(event.model_dump_json(exclude_none=True))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return made


if __name__ == "__main__":
    main()
