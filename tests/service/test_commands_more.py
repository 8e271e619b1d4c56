# SPDX-License-Identifier: Apache-2.0
"""send, publish, broadcast, routes and token."""
import json
import time

import jwt
import pytest
from harness import run_command, wait_for

SECRET = "a secret for the tests of the commands, which nobody else has"
NOWHERE = "postgresql://nobody@/nothing?host=/nonexistent"
SQL = """
create schema app;
create function app.enter(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    perform switchboard.subscribe(event.connection_id, event.body ->> 'topic');
    return next switchboard.reply('{"joined": true}');
end;
$$;
create function app.whoami(event switchboard.event) returns setof switchboard.delivery
language sql as $$
    select switchboard.reply(pg_catalog.jsonb_build_object('verified', event.token));
$$;
create function app."$default"(event switchboard.event) returns setof switchboard.delivery
language sql as $$
    select switchboard.reply('{}');
$$;
create function app.helper(event switchboard.event) returns integer
language sql as 'select 1';
"""
SETTINGS = {"routes": "app", "jwt_secret": SECRET}


def done(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def failed(result, part):
    assert result.returncode == 1 and part in result.stderr + result.stdout, result
    return result


def misused(result, part=""):
    assert result.returncode == 2 and part in result.stderr, result


# ---- send ----

def test_send_to_a_connection_goes_through_its_node(shared):
    client, other = shared.connect(), shared.connect()
    posts = shared.metrics()["switchboard_posts_total"]
    assert done(shared.command("send", client.id, "any text at all")) == "sent: 1 connection\n"
    assert client.recv() == "any text at all"
    assert json.loads(done(shared.command("send", client.id, '{"a":1}', "--json"))) == {
        "connectionId": client.id, "reached": 1}
    assert client.recv() == '{"a":1}'
    assert shared.metrics()["switchboard_posts_total"] == posts + 2
    other.assert_silent()


def test_send_to_a_connection_works_without_a_node_to_ask(shared, shared_database):
    client = shared.connect()
    posts = shared.metrics()["switchboard_posts_total"]
    # Nobody listens there, so the database passes it on.
    sent = shared_database.command("send", client.id, '{"b":2}', admin_port=1)
    assert done(sent) == "sent: 1 connection\n"
    assert client.recv_json() == {"b": 2}
    assert shared.metrics()["switchboard_posts_total"] == posts


@pytest.mark.parametrize("admin_port", [None, 1])
def test_send_to_a_connection_that_is_gone_fails(shared, admin_port):
    client = shared.connect()
    client.close()
    shared.database.wait_inactive(client.id)
    settings = {"admin_port": admin_port} if admin_port else {}
    failed(shared.command("send", client.id, "late", **settings), "nobody is there")
    result = shared.command("send", client.id, "late", "--json", **settings)
    assert result.returncode == 1
    assert json.loads(result.stdout) == {"connectionId": client.id, "reached": 0}
    failed(shared.command("send", "no such/id ?", "late", **settings), "nobody is there")


def test_send_to_a_user_reaches_all_that_the_user_has_open(shared):
    token = done(shared.command("token", "--claims", '{"userId":"u-7","email":"u@example.com"}'))
    clients = [shared.connect() for _ in range(2)]
    for client in clients:
        shared.database.value("select switchboard.identify(%s, 'u-7')", client.id)
    assert token
    result = wait_for(lambda: (lambda r: r if r["reached"] == 2 else None)(json.loads(
        shared.command("send", "--user", "u-7", '{"n":1}', "--json").stdout)), "both are known")
    assert result == {"userId": "u-7", "reached": 2}
    for client in clients:
        assert client.recv_json() == {"n": 1}
    failed(shared.command("send", "--user", "nobody", "{}"), "nobody is there")


def test_send_to_a_topic_and_publish_reach_its_subscribers(shared):
    member, other = shared.connect(), shared.connect()
    assert member.ask({"action": "enter", "topic": "room:1"}) == {"joined": True}
    first = json.loads(done(shared.command("publish", "room:1", '{"n":1}', "--json")))
    assert first["topic"] == "room:1" and first["id"] > 0
    assert done(shared.command("send", "--topic=room:1", '{"n":2}')).startswith("published: ")
    assert done(shared.command("publish", "room:1", '"--json"')).startswith("published: ")
    assert [member.recv_json() for _ in range(3)] == [{"n": 1}, {"n": 2}, "--json"]
    other.assert_silent()


def test_broadcast_and_send_all_reach_everybody(shared):
    clients = [shared.connect() for _ in range(3)]
    result = json.loads(done(shared.command("broadcast", '{"n":1}', "--json")))
    assert result["id"] > 0 and result["reached"] >= 3
    assert done(shared.command("send", "--all", '{"n":2}')).startswith("sent: ")
    for client in clients:
        assert [client.recv_json(), client.recv_json()] == [{"n": 1}, {"n": 2}]


def test_what_is_no_json_is_published_to_nobody(shared):
    client = shared.connect()
    for arguments in (("broadcast", "{"), ("publish", "room:1", "no json"),
                      ("send", "--user", "u", "'"), ("send", "--all", "")):
        failed(shared.command(*arguments), "json")
    client.assert_silent()


def test_sending_without_a_database_says_so(tmp_path):
    for arguments in (("broadcast", "{}"), ("publish", "t", "{}"), ("routes",),
                      ("send", "gQtcmUj5KC456WHwwg==", "x")):
        result = run_command(NOWHERE, *arguments, admin_port=1)
        assert result.returncode == 1 and "/nonexistent" in result.stderr


def test_wrong_command_lines_are_not_understood():
    for arguments in (("send",), ("send", "x"), ("send", "--user", "u"), ("send", "--user"),
                      ("send", "--user", "u", "id", "text"), ("send", "--user=u", "--all", "text"),
                      ("publish", "t"), ("publish",), ("broadcast",), ("broadcast", "{}", "{}"),
                      ("routes", "x"), ("routes", "--all"), ("token", "x"),
                      ("broadcast", "{}", "--claims", "{}"), ("publish", "t", "{}", "--markdown")):
        misused(run_command(NOWHERE, *arguments))


# ---- routes ----

def test_routes_says_what_handles_what(shared):
    routes = {row["route"]: row for row in json.loads(done(shared.command("routes", "--json")))}
    assert routes["enter"] == {"route": "enter", "schema": "app",
                              "function": "app.enter(switchboard.event)"}
    # The schema in front has the default route, the profile the others.
    assert routes["$default"]["schema"] == "app"
    assert routes["$connect"]["schema"] == "careconnect"
    assert routes["$error"]["schema"] == "careconnect"
    assert "helper" not in routes
    text = done(shared.command("routes"))
    assert any(line.split() == ["enter", "app", "app.enter(switchboard.event)"]
               for line in text.splitlines())


def test_routes_of_a_profile_alone(shared_database):
    rows = json.loads(done(shared_database.command("routes", "--json", "--profile", "careconnect")))
    assert {row["schema"] for row in rows} - {"switchboard"} == {"careconnect"}
    nothing = json.loads(done(shared_database.command("routes", "--json", profile="nosuch")))
    assert {row["schema"] for row in nothing} <= {"switchboard"}  # what every profile has


# ---- token ----

@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_is_what_others_understand(algorithm):
    made = done(run_command(NOWHERE, "token", "--claims", '{"sub":"ann","roles":["a"]}', "--ttl",
                            "60", "--alg", algorithm, jwt_secret=SECRET)).strip()
    assert jwt.get_unverified_header(made) == {"alg": algorithm, "typ": "JWT"}
    claims = jwt.decode(made, SECRET, algorithms=[algorithm])
    assert claims["sub"] == "ann" and claims["roles"] == ["a"]
    assert claims["exp"] - claims["iat"] == 60 and abs(claims["iat"] - time.time()) < 30


def test_a_token_is_what_the_server_accepts(shared):
    made = json.loads(done(shared.command("token", "--claims={\"sub\":\"ann\"}", "--json")))
    assert made["claims"]["exp"] - made["claims"]["iat"] == 3600
    answer = shared.connect().ask({"action": "whoami", "token": made["token"]})
    assert answer["verified"] == made["claims"]
    expired = done(shared.command("token", "--ttl", "-60", "--claims", "{}")).strip()
    assert shared.connect().ask({"action": "whoami", "token": expired})["verified"] is None


def test_a_token_has_the_issuer_and_the_audience_of_the_settings():
    settings = {"jwt_secret": SECRET, "jwt_issuer": "us", "jwt_audience": "app"}
    made = done(run_command(NOWHERE, "token", "--claims", '{"aud":"web"}', **settings)).strip()
    claims = jwt.decode(made, SECRET, algorithms=["HS256"], audience="web", issuer="us")
    assert claims["aud"] == "web"
    made = done(run_command(NOWHERE, "token", **settings)).strip()
    assert jwt.decode(made, SECRET, algorithms=["HS256"], audience="app", issuer="us")


def test_an_exp_that_was_given_stays():
    def exp(*arguments):
        made = done(run_command(NOWHERE, "token", "--json", *arguments, jwt_secret=SECRET))
        return json.loads(made)["claims"]["exp"]
    assert exp("--claims", '{"exp":1900000000}') == 1900000000
    assert exp("--claims", '{"exp":1900000000}', "--ttl", "5") < 1900000000


def test_a_token_needs_a_secret_and_an_object():
    failed(run_command(NOWHERE, "token", "--claims", "{}"), "jwt_secret")
    failed(run_command(NOWHERE, "token", "--alg", "RS256", jwt_secret=SECRET), "HS256")
    failed(run_command(NOWHERE, "token", "--alg", "none", jwt_secret=SECRET), "HS256")
    for claims in ("[]", "{", "", "7"):
        misused(run_command(NOWHERE, "token", "--claims", claims, jwt_secret=SECRET), "--claims")
    for ttl in ("x", "", "1.5", "99999999999"):
        misused(run_command(NOWHERE, "token", "--ttl", ttl, jwt_secret=SECRET), "--ttl")
    misused(run_command(NOWHERE, "token", "--claims", jwt_secret=SECRET), "--claims needs a value")


def test_help_knows_the_commands():
    text = done(run_command(NOWHERE, "help"))
    for name in ("send", "publish", "broadcast", "routes", "token"):
        assert f"\n  {name} " in text
