# SPDX-License-Identifier: Apache-2.0
"""The admin port: health, metrics, the management API, the list of connections."""
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import read_answer, wait_for

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


@pytest.fixture
def client(shared):
    client = shared.connect()
    yield client
    client.drop()


def path(connection_id, stage="/dev"):
    return f"{stage}/@connections/{connection_id}"


def gone_id(shared):
    client = shared.connect()
    client.close()
    shared.database.wait_inactive(client.id)
    return client.id


# ---- health and metrics ----

def test_live_and_ready_say_yes(shared):
    assert shared.http("GET", "/live").status == 200
    ready = shared.http("GET", "/ready")
    assert ready.status == 200 and ready.json() == {"ready": True}


def test_metrics_are_prometheus_text_and_count_what_happens(shared):
    before = shared.metrics()
    client = shared.connect()
    client.ask({"type": "heartbeat"})
    shared.refused("type=unknown")
    after = shared.metrics()
    assert shared.http("GET", "/metrics").header("content-type").startswith(
        "text/plain; version=0.0.4")

    def grown(name):
        return after["switchboard_" + name] - before["switchboard_" + name]
    assert grown("connects_total") == 2
    assert grown("connects_accepted_total") == 1
    assert grown("connects_refused_total") == 1
    assert grown("messages_in_total") == 1
    assert grown("messages_out_total") == 2
    assert grown("bytes_in_total") == len(json.dumps({"type": "heartbeat"}))
    assert after["switchboard_ready"] == 1
    assert after["switchboard_database_connected"] >= 3
    assert after["switchboard_resident_memory_bytes"] > 1e6
    open_now = after["switchboard_open_connections"]
    client.close()
    wait_for(lambda: shared.metrics()["switchboard_open_connections"] == open_now - 1,
             "the gauge went down")


def test_the_metrics_are_all_in_one_namespace_or_in_cloudwatchs(shared):
    cloudwatch = ("ConnectCount", "MessageCount", "IntegrationError", "ClientError",
                  "ExecutionError", "IntegrationLatency")
    assert all(name.startswith(("switchboard_", *cloudwatch)) for name in shared.metrics())


# ---- POST ----

def test_a_post_arrives_as_text(shared, client):
    answer = shared.http("POST", path(client.id), '{"hello":"w\u00f6rld"}'.encode())
    assert (answer.status, answer.body) == (200, b"")
    assert answer.header("content-length") == "0"
    assert answer.header("content-type") == "application/json"
    assert UUID.match(answer.header("x-amzn-RequestId"))
    assert answer.header("x-amz-apigw-id")
    assert client.recv() == '{"hello":"w\u00f6rld"}'


@pytest.mark.parametrize("form", [
    lambda id: path(id), lambda id: path(id, ""), lambda id: path(id, "/prod"),
    lambda id: f"/dev/%40connections/{id.replace('=', '%3D')}",
    lambda id: f"/%40connections/{id.replace('=', '%3d')}"],
    ids=["raw", "no stage", "another stage", "encoded", "encoded without stage"])
def test_the_path_may_be_written_in_every_way_the_sdks_do(shared, client, form):
    answer = shared.http("POST", form(client.id), b"x")
    if answer.status == 403 and "prod" in form(client.id):
        assert answer.json() == {"message": "Forbidden"}  # not a stage of this API
        return
    assert answer.status == 200
    assert client.recv() == "x"


@pytest.mark.parametrize("sent, got", [
    (b"", ""), (b"\xff\xfe\x80n", "\ufffd\ufffd\ufffdn"), (b"not JSON", "not JSON"),
    (b"a\x00b", "a\x00b")], ids=["empty", "invalid utf-8", "text", "nul"])
def test_any_bytes_become_a_text_message(shared, client, sent, got):
    assert shared.http("POST", path(client.id), sent).status == 200
    assert client.recv() == got


def test_a_post_of_a_mebibyte_is_taken_and_one_byte_more_is_413(shared, client):
    assert shared.http("POST", path(client.id), b"x" * 1048576).status == 200
    assert client.recv() == "x" * 1048576
    answer = shared.http("POST", path(client.id), b"x" * 1048577)
    assert (answer.status, answer.body) == (413, b"")
    assert answer.header("x-amzn-ErrorType") is None
    client.assert_silent()


def test_a_chunked_post_is_read_whole(shared, client):
    with socket.create_connection(("127.0.0.1", shared.admin_port), timeout=10) as connection:
        connection.sendall(f"POST {path(client.id)} HTTP/1.1\r\nHost: x\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".encode())
        connection.sendall(b"4\r\ndefg\r\n0\r\n\r\n")
        assert read_answer(connection).status == 200
    assert client.recv() == "abcdefg"


def test_posts_one_after_the_other_arrive_in_order(shared, client):
    for n in range(50):
        assert shared.http("POST", path(client.id), str(n).encode()).status == 200
    assert [client.recv() for _ in range(50)] == [str(n) for n in range(50)]


def test_many_posts_at_once_all_arrive(shared, client):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(
            lambda n: shared.http("POST", path(client.id), str(n).encode()).status, range(200)))
    assert answers == [200] * 200
    assert sorted(int(client.recv()) for _ in range(200)) == list(range(200))


# ---- GET and DELETE ----

def test_get_tells_about_the_connection_as_api_gateway_writes_it(shared):
    client = shared.connect(headers=[("User-Agent", 'agent "x"')], source="127.0.0.5")
    answer = shared.http("GET", path(client.id))
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(
        '{\n  "identity" : {\n    "sourceIp" : "127.0.0.5",\n'
        r'    "userAgent" : "agent \\"x\\""' '\n  },\n'
        f'  "connectedAt" : "{stamp}",\n  "lastActiveAt" : "{stamp}"\n}}', answer.body.decode()), \
        answer.body
    first = answer.json()["lastActiveAt"]
    again = shared.http("GET", path(client.id)).json()
    assert again["lastActiveAt"] == first  # a GET is no activity
    wait_for(lambda: client.ask({"type": "heartbeat"}) and
             shared.http("GET", path(client.id)).json()["lastActiveAt"] > first, "it moved")
    second = shared.http("GET", path(client.id)).json()["lastActiveAt"]
    wait_for(lambda: shared.http("POST", path(client.id), b"x").status == 200 and
             shared.http("GET", path(client.id)).json()["lastActiveAt"] > second,
             "a POST moves it as well")
    client.close()


def test_delete_closes_normally_and_runs_disconnect(shared, client):
    answer = shared.http("DELETE", path(client.id))
    assert (answer.status, answer.body) == (204, b"")
    assert client.wait_closed() == (1000, "Connection Closed Normally")
    row = shared.database.wait_inactive(client.id)
    assert (row["disconnect_code"], row["disconnect_reason"]) == \
        (1000, "Connection Closed Normally")
    assert shared.http("DELETE", path(client.id)).status == 410


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_connection_that_has_gone_is_410_with_an_empty_body(shared, method):
    answer = shared.http(method, path(gone_id(shared)), b"x" if method == "POST" else None)
    assert (answer.status, answer.body) == (410, b"")
    assert answer.header("x-amzn-ErrorType") == "GoneException"
    assert answer.header("content-length") == "0"
    assert UUID.match(answer.header("x-amzn-RequestId"))


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_an_id_that_cannot_be_one_is_400(shared, client, method):
    changed = ("B" if client.id[0] != "B" else "C") + client.id[1:]
    for bad in ("nonsense", "0000000000000000", client.id[:-2], client.id + "x", changed, "a%20b"):
        answer = shared.http(method, path(bad), b"x" if method == "POST" else None)
        assert answer.status == 400, bad
        assert answer.header("x-amzn-ErrorType") == "BadRequestException"
        assert answer.json() == {"message": f"Invalid connectionId: {bad.replace('%20', ' ')}"}
    client.assert_silent()


def test_what_is_not_there_is_404_and_other_methods_are_405(shared, client):
    assert shared.http("GET", "/").status in (200, 404)
    assert shared.http("GET", "/nothing").status == 404
    assert shared.http("GET", "/a/b/c/d/e").status == 404
    assert shared.http("PUT", path(client.id), b"x").status == 405
    assert shared.http("POST", "/live", b"x").status == 405
    assert shared.http("DELETE", "/connections").status == 405


# ---- the list ----

def test_the_list_has_the_live_connections_page_by_page(server):
    clients = [server.connect(f"email=c{n}@example.com") for n in range(25)]
    clients.pop().close()
    ids = sorted(client.id for client in clients)
    wait_for(lambda: server.database.live() == 24, "the closed one is gone")
    whole = server.http("GET", "/connections").json()
    assert sorted(one["connection_id"] for one in whole["connections"]) == ids
    one = next(each for each in whole["connections"] if each["connection_id"] == clients[0].id)
    assert one["user_email"] == "c0@example.com"
    assert one["source_ip"] == "127.0.0.1"
    seen, after = [], ""
    for _ in range(10):
        page = server.http("GET", f"/connections?limit=10{after}").json()
        assert len(page["connections"]) <= 10
        seen += [one["connection_id"] for one in page["connections"]]
        if not page.get("next"):
            break
        after = "&after=" + page["next"].replace("=", "%3D")
    assert sorted(seen) == ids and len(seen) == 24


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=100000000000"])
def test_a_bad_limit_is_400(shared, query):
    assert shared.http("GET", f"/connections?{query}").status == 400
