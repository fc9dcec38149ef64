"""Digests of input items: one for a whole list, or one for every prefix of a growing one.

A conversation sends the same items again each turn. A `PrefixChain` tells what of them is new, at the cost of
that alone, and a `PrefixIndex` which response, session or worker has the longest prefix of them.

>>> from penstock import prefix
>>> first = prefix.PrefixChain([{"role": "user", "content": "Hi"}], salt="tenant-1")
>>> second = first.copy()
>>> second.append_json(b'{"content": "Hello", "role": "assistant"}')
>>> second.longest_match(first), second[1] == first.digest
(1, True)
"""

from penstock._penstock import PrefixChain, PrefixIndex, hash_items, hash_json

__all__ = ["PrefixChain", "PrefixIndex", "hash_items", "hash_json"]
