"""Sealed ids on a WebSocket: the client never sees an upstream's, and the upstream none of anybody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_websocket_managed import create, kinds, place
from websocket_kit import answer, ask, dial, websockets_server
from websockets.asyncio.server import ServerConnection

from penstock.ids import LiteLLMCodec, SealedCodec
from penstock.replay import ReplayServer
from penstock.websocket import RefusedError, SealedIds, connect, forward

CODEC = SealedCodec({"k1": b"k" * 32})
CREATED = '{"type":"response.created","response":{"id":"resp_1","big":12345678901234567890,"output":[]}}'


def sealing(tenant: str = "alice") -> SealedIds:
    return SealedIds(CODEC, tenant=tenant, provider="openai")


def test_there_and_back() -> None:
    ids = sealing()
    sent = ids.to_client(CREATED)
    sealed = json.loads(sent)["response"]["id"]
    assert sealed != "resp_1"
    assert sent == CREATED.replace("resp_1", sealed)  # and not a byte else
    request = json.dumps({"type": "response.create", "previous_response_id": sealed, "input": "resp_1"})
    assert ids.to_upstream(request) == request.replace(sealed, "resp_1")
    for untouched in ("{}", '{"type":"x","delta":"resp_1"}'):
        assert ids.to_client(untouched) == untouched


@pytest.mark.parametrize("id", ["resp_1", "", "resp_" + "A" * 90])
def test_ids_that_were_not_sealed_here(id: str) -> None:
    with pytest.raises(RefusedError) as caught:
        sealing().to_upstream(json.dumps({"type": "response.create", "previous_response_id": id}))
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.param) == (
        403,
        "invalid_response_id",
        "previous_response_id",
    )


def test_ids_of_another_tenant() -> None:
    sealed = json.loads(sealing("bob").to_client(CREATED))["response"]["id"]
    with pytest.raises(RefusedError):
        sealing().to_upstream(json.dumps({"type": "response.create", "previous_response_id": sealed}))


def test_the_form_of_litellm() -> None:
    ids = SealedIds(LiteLLMCodec(), provider="openai", model="m")
    sealed = json.loads(ids.to_client(CREATED))["response"]["id"]
    assert sealed.startswith("resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTtt")
    request = json.dumps({"type": "response.create", "previous_response_id": sealed})
    assert json.loads(ids.to_upstream(request))["previous_response_id"] == "resp_1"


async def test_a_managed_conversation() -> None:
    async with place(rewriter=sealing()) as where, dial(where.url) as client:
        first = await ask(client, model="replay-echo", input="one")
        sealed = first[-1]["response"]["id"]
        second = await ask(client, model="replay-echo", input="two", previous_response_id=sealed)
        assert second[-1]["response"]["previous_response_id"] == sealed
        raw = CODEC.open(sealed, tenant="alice")[2]
        assert raw not in json.dumps([first, second])
        refused = await ask(client, model="replay-echo", input="x", previous_response_id=raw)
        assert (refused[0]["status"], refused[0]["error"]["code"]) == (403, "invalid_response_id")
        await client.send(create(model="replay-text+rate=100"))
        running = json.loads(await client.recv())["response"]["id"]
        await client.send(json.dumps({"type": "response.cancel", "response_id": running}))
        assert kinds(await answer(client))[-1] == "response.incomplete"


async def test_a_forwarded_conversation() -> None:
    async with ReplayServer() as upstream:
        url = upstream.base_url.replace("http", "ws", 1) + "/responses"

        async def edge(connection: ServerConnection) -> Any:
            return await forward(connection, lambda _: connect(url), allowed_origins=None, rewriter=sealing())

        async with websockets_server(edge) as edge_url, dial(edge_url) as client:
            first = await ask(client, model="replay-echo", input="one")
            sealed = first[-1]["response"]["id"]
            assert CODEC.open(sealed, tenant="alice")[0] == "openai"
            second = await ask(client, model="replay-echo", input="two", previous_response_id=sealed)
            assert second[-1]["type"] == "response.completed"
            refused = await ask(client, model="replay-echo", input="x", previous_response_id="resp_1")
            assert refused[0]["error"]["code"] == "invalid_response_id"
            assert len(upstream.asked) == 2
