"""Where conversations are kept between turns: in memory, in a file, in Redis.

A turn is a response with the items that its request added. Turns form trees: each names the response it
continues, and the history of a response is everything up to its output. All stores keep the promises of
`ConversationStore`.

>>> import asyncio
>>> async def main():
...     async with MemoryStore() as store:
...         await store.append("alice", {"id": "resp_1", "output": []}, input="Hello")
...         return (await store.load_history("alice", "resp_1")).json()
>>> asyncio.run(main())
[{'type': 'message', 'role': 'user', 'content': 'Hello'}]
"""

from penstock._penstock import Bounds, Items
from penstock.store.base import ConversationStore, Turn
from penstock.store.connection import ConnectionStore
from penstock.store.memory import MemoryStore
from penstock.store.sqlite import SQLiteStore

__all__ = ["Bounds", "ConnectionStore", "ConversationStore", "Items", "MemoryStore", "SQLiteStore", "Turn"]
