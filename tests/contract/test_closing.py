# SPDX-License-Identifier: Apache-2.0
"""1.6 and 6 of the contract: who closes with which code and reason, and what $disconnect is told;
lines 8 and 9 of its checklist."""
import contextlib
import time

import pytest
from harness import masked_head, wait_for
from strict import SQL as STRICT_SQL
from strict import STRICT, ended, message_of

SETTINGS = STRICT
SQL = STRICT_SQL


@pytest.fixture
def start(database, start_server):
    database.execute(SQL)
    return lambda **settings: start_server(database, **{**STRICT, **settings})


def ping(client):
    """A ping and a pong, also when the close frame may have come already."""
    with contextlib.suppress(OSError):
        client.send_bytes(masked_head(0x89, 1) + b"p" + masked_head(0x8a, 1) + b"q")


# ---- 1.6 disconnectStatusCode and disconnectReason, row by row; line 9 ----

@pytest.mark.parametrize("code, reason", [(1000, "probe-complete"), (1000, ""), (4001, "\u00e9"),
                                          (3000, "r" * 123)])
def test_1_6_a_client_close_with_code_and_reason_is_told_verbatim_and_echoed(shared, code, reason):
    client = shared.connect()
    assert client.close(code, reason) == (code, reason)
    assert ended(shared, client) == (code, reason)


def test_1_6_a_client_close_without_code_is_1005(shared):
    client = shared.connect()
    client.protocol.send_close()
    client._flush()
    client.wait_closed()
    assert ended(shared, client) == (1005, "Client-side close frame status not set")


def test_1_6_a_tab_that_is_closed_is_1001_with_an_empty_reason(shared):
    client = shared.connect()
    client.close(1001)
    assert ended(shared, client) == (1001, "")


def test_1_6_the_idle_timeout_is_1001_going_away(start):
    server = start(idle_timeout_ms=300)
    client = server.connect()
    assert client.wait_closed() == (1001, "Going away")
    assert ended(server, client) == (1001, "Going away")


def test_1_6_a_delete_of_the_management_api_is_1000_connection_closed_normally(shared):
    client = shared.connect()
    assert shared.http("DELETE", f"/dev/@connections/{client.id}").status == 204
    assert client.wait_closed() == (1000, "Connection Closed Normally")
    assert ended(shared, client) == (1000, "Connection Closed Normally")


def test_1_6_a_binary_frame_is_1003_binary_is_not_supported(shared):
    client = shared.connect()
    client.protocol.send_binary(b"\x00")
    client._flush()
    assert client.wait_closed() == (1003, "Binary is not supported")
    assert ended(shared, client) == (1003, "Binary is not supported")


def test_1_6_a_frame_of_more_than_32_kb_is_1009(shared):
    client = shared.connect()
    client.send_bytes(masked_head(0x81, 32769) + b"x" * 32769)
    expected = (1009, "Max frame length of 32768 has been exceeded.")
    assert client.wait_closed() == expected
    assert ended(shared, client) == expected


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
def test_1_6_a_transport_that_is_dropped_is_1006(shared, reset):
    client = shared.connect()
    client.drop(reset)
    assert ended(shared, client)[0] == 1006


def test_1_6_the_longest_life_is_1001_however_busy(start):
    server = start(max_connection_ms=500)
    client = server.connect()
    wait_for(lambda: ping(client) or not client._pump(time.monotonic() + 0.05), "it is closed")
    assert client.protocol.close_code == 1001
    assert ended(server, client)[0] == 1001


def test_1_6_a_rejected_connect_has_no_disconnect(start):
    server = start()
    assert server.refused("status=403&body=no").status == 403
    accepted = server.connect()
    accepted.close()
    ended(server, accepted)
    assert server.database.value("select count(*) from app.ended") == 1


# ---- 6 close codes of the gateway ----

def test_6_a_message_of_more_than_128_kb_is_1009(shared):
    client = shared.connect()
    text = message_of(131073).encode()
    with contextlib.suppress(OSError):  # it may be closed before everything is sent
        client.send_parts([text[at:at + 32768] for at in range(0, 131073, 32768)])
    assert client.wait_closed()[0] == 1009
    assert ended(shared, client)[0] == 1009


def test_6_an_error_of_the_protocol_is_1002(shared):
    client = shared.connect()
    client.send_bytes(masked_head(0x80, 1) + b"x")
    assert client.wait_closed()[0] == 1002
    assert ended(shared, client)[0] == 1002


def test_6_too_many_requests_are_1008_when_the_operator_asks_for_it(start):
    server = start(rate_limit_routes="costly=1/h", throttle_close_after=3)
    client = server.connect()
    assert client.ask({"action": "costly", "n": 1}) == 1
    for _ in range(5):
        client.send({"action": "costly", "n": 2})
    for _ in range(3):
        assert "Too Many Requests" in client.recv()
    assert client.wait_closed() == (1008, "Too many requests")
    assert ended(server, client) == (1008, "Too many requests")


def test_6_a_restart_of_the_service_is_1012(start):
    server = start()
    client = server.connect()
    server.stop()
    assert client.wait_closed()[0] == 1012
    assert server.database.execute("select code from app.ended") == [{"code": 1012}]


# ---- 6 ping and pong ----

@pytest.mark.parametrize("payload", [b"", b"payload", b"p" * 125], ids=["empty", "short", "125"])
def test_6_a_ping_is_answered_with_its_payload(shared, payload):
    client = shared.connect()
    assert client.ping(payload) == payload
    client.close()


def test_6_the_gateway_sends_no_pings_whatever_the_schema_wants(start, database):
    database.execute("""create function app."$settings"() returns jsonb language sql immutable
                        as $$ select '{"ping_interval_ms": 50}'::jsonb $$""")
    server = start(idle_timeout_ms=1000)
    client = server.connect()
    assert client.wait_closed() == (1001, "Going away")
    assert client.pings == []


# ---- 6 the idle timer ----

def busy_for(client, seconds, act):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        act()
        assert client._pump(time.monotonic() + 0.05), "closed"


def test_6_messages_of_either_direction_reset_the_idle_timer(start):
    server = start(idle_timeout_ms=500)
    talking, listening = server.connect(), server.connect()
    path = f"/dev/@connections/{listening.id}"
    busy_for(talking, 1.5, lambda: (talking.send({"action": "echo", "n": 1}),
                                    server.http("POST", path, b"push")))
    assert listening.recv() == "push"
    assert talking.wait_closed() == listening.wait_closed() == (1001, "Going away")


def test_6_a_ping_or_pong_resets_the_idle_timer(start):
    server = start(idle_timeout_ms=500)
    client = server.connect()
    busy_for(client, 1.5, lambda: ping(client))
    assert client.wait_closed() == (1001, "Going away")


def test_6_a_ping_or_pong_does_not_when_the_operator_says_so(start):
    server = start(idle_timeout_ms=500, ping_resets_idle="off")
    client = server.connect()
    wait_for(lambda: ping(client) or not client._pump(time.monotonic() + 0.05), "it is closed", 5)
    assert client.protocol.close_code == 1001
