# SPDX-License-Identifier: Apache-2.0
"""Every row of the broadcast profile's table."""
import datetime

import pytest
from harness import ID

SETTINGS = {"profile": "broadcast"}


def connect(server):
    return server.connect(welcome=False)


def how_to(answer):
    assert set(answer) == {"type", "message"} and answer["type"] == "echo", answer
    assert '{"action": "sendMessage"' in answer["message"], answer
    return True


def test_send_message_reaches_every_connection_and_the_sender(shared):
    clients = [connect(shared) for _ in range(3)]
    clients[0].send({"action": "sendMessage", "message": "Hello!"})
    frames = [client.recv_json() for client in clients]
    assert ID.match(frames[0]["from"])
    assert shared.database.row(frames[0]["from"])["is_active"]
    assert frames == [{"type": "message", "from": frames[0]["from"], "message": "Hello!"}] * 3
    clients[1].send({"action": "sendMessage", "message": "And you?"})
    frames = [(client.recv_json()["from"], client) for client in clients]
    assert len({sender for sender, _ in frames}) == 1
    for client in clients:
        client.assert_silent()
        client.close()


def test_any_other_message_comes_back_as_an_echo(shared):
    client, other = connect(shared), connect(shared)
    assert client.ask({"message": "Echo this"}) == {"type": "echo", "message": "Echo this"}
    assert client.ask({"action": "dance", "message": "x"}) == {"type": "echo", "message": "x"}
    other.assert_silent()
    client.close()
    other.close()


@pytest.mark.parametrize("text", ["{}", '{"message": ""}', '{"message": null}', "[]", "hello", "",
                                  '{"action": "sendMessage"}'])
def test_without_a_message_the_echo_says_how_to_broadcast(shared, text):
    client, other = connect(shared), connect(shared)
    client.send(text)
    assert how_to(client.recv_json())
    other.assert_silent()
    client.close()
    other.close()


def test_nobody_is_greeted(shared):
    client = connect(shared)
    client.assert_silent()
    client.close()


def test_a_connection_lives_for_a_day(shared):
    client = connect(shared)
    client.ask({"message": "x"})
    row = shared.database.execute(
        "select expires_at - connected_at as ttl from switchboard.websocket_connections"
        " where is_active order by connected_at desc limit 1")[0]
    assert abs(row["ttl"] - datetime.timedelta(hours=24)) < datetime.timedelta(minutes=1)
    client.close()


def test_leaving_deactivates_the_row(shared):
    client = connect(shared)
    client.send({"action": "sendMessage", "message": "x"})
    connection_id = client.recv_json()["from"]
    client.close()
    assert shared.database.wait_inactive(connection_id)["disconnect_code"] == 1000
