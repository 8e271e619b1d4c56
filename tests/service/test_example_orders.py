# SPDX-License-Identifier: Apache-2.0
"""examples/order-status: what its README promises."""
import json
import urllib.parse

import pytest
from harness import ROOT

SETTINGS = {"routes": "orders"}
SQL = (ROOT / "examples" / "order-status" / "orders.sql").read_text()


def connect(server, orders=None, resume=None):
    query = {}
    if orders:
        query["orders"] = orders
    if resume is not None:
        query["resume"] = json.dumps(resume)
    return server.connect(urllib.parse.urlencode(query), welcome=False)


def ship(database, order, status):
    """As the README says it: an ordinary transaction of an application."""
    session = database.connect()
    with session, session.cursor() as cursor:
        cursor.execute("update shop.orders set status = %s where order_id = %s", (status, order))
        cursor.execute("select switchboard.publish(%s, orders.frame(o)) from shop.orders as o"
                       " where o.order_id = %s", (f"order:{order}", order))
    session.close()


def test_a_watcher_is_told_how_an_order_stands_and_what_becomes_of_it(shared):
    client, other = connect(shared, "42"), connect(shared, "43")
    frame = client.recv_json()
    assert frame.pop("updatedAt")
    assert frame == {"type": "order", "orderId": 42, "item": "A towel", "status": "received"}
    other.recv_json()
    ship(shared.database, 42, "packed")
    assert client.recv_json()["status"] == "packed"
    other.assert_silent()
    client.close()
    other.close()


def test_one_can_begin_and_end_to_watch_later(shared):
    client = connect(shared)
    assert client.ask({"action": "watch", "orderId": 43})["orderId"] == 43
    ship(shared.database, 43, "packed")
    assert client.recv_json()["status"] == "packed"
    client.send({"action": "unwatch", "orderId": 43})
    ship(shared.database, 43, "shipped")
    # Behind the end of the subscription in the log.
    assert client.ask({"action": "watch", "orderId": 43})["status"] == "shipped"
    client.assert_silent()
    client.close()


@pytest.mark.parametrize("message, answer", [
    ({"action": "watch", "orderId": 7}, "There is no order 7"),
    ({"action": "watch"}, "There is no order null"),
    ({"action": "dance"}, 'Send {"action": "watch", "orderId": 42}'),
    ("hello", 'Send {"action": "watch", "orderId": 42}')], ids=str)
def test_errors_are_typed(shared, message, answer):
    client = connect(shared)
    client.send(message)
    assert client.recv_json() == {"type": "error", "message": answer}
    client.close()


def test_the_page_comes_back_and_has_missed_nothing(shared):
    """What orders.html does: resume={} at first, then with the last seq."""
    database = shared.database
    database.execute("insert into shop.orders (order_id, item) values (44, 'A pen')")
    client = connect(shared, "44", {})
    assert "seq" not in client.recv_json()
    ship(database, 44, "packed")
    frame = client.recv_json()
    assert frame["status"] == "packed"
    client.drop()
    ship(database, 44, "shipped")
    ship(database, 44, "delivered")
    client = connect(shared, "44", {"order:44": frame["seq"]})
    assert [client.recv_json()["status"] for _ in range(2)] == ["shipped", "delivered"]
    client.assert_silent()
    client.close()
