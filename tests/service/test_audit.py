# SPDX-License-Identifier: Apache-2.0
"""Audit: what a route puts on record is one line of the log, and is sent to nobody."""
import json
import re

from harness import token, wait_for

SECRET = "a secret that is long enough for HS256"
SQL = """
create schema app;
create function app.act(event switchboard.event)
returns setof switchboard.delivery
language plpgsql
as $$
begin
    return next switchboard.audit(event.body ->> 'act', event.body -> 'details');
    if event.body ? 'fail' then
        raise exception 'not done';
    end if;
    return next switchboard.reply('{"done": true}');
end;
$$;
"""


def wait_trail(server, actions):
    wait_for(lambda: len(server.lines("audit")) == len(actions), f"the trail is {actions}")
    assert [re.search(r" action=(\S+)", line)[1] for line in server.lines("audit")] == actions


def details_of(line):
    match = re.search(r'details=("(?:[^"\\]|\\.)*")', line)
    assert match, line
    return json.loads(json.loads(match[1]))


def test_one_line_for_each_action_and_nothing_for_the_client(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app")
    client = server.connect()
    assert client.ask({"action": "act", "act": "opened", "details": {"file": "a \"b\" c=d"}}) == \
        {"done": True}
    line = server.wait_line("audit")
    assert f"connection={client.id}" in line and " action=opened " in line
    assert "level=info" in line
    assert details_of(line) == {"action": "opened", "file": 'a "b" c=d'}
    client.assert_silent()
    assert client.ask({"action": "act", "act": "two words"}) == {"done": True}
    assert len(server.lines("audit")) == 2
    assert 'action="two words"' in server.lines("audit")[1]


def test_what_was_rolled_back_is_not_on_record(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app")
    client = server.connect()
    client.ask({"action": "act", "act": "tried", "fail": True})
    assert client.ask({"action": "act", "act": "did"}) == {"done": True}
    assert [" action=did " in line for line in server.lines("audit")] == [True]


def test_long_details_are_cut_and_the_line_stays_whole(database, start_server):
    database.execute(SQL)
    server = start_server(database, routes="app", log_format="json")
    client = server.connect()
    client.ask({"action": "act", "act": "wrote", "details": {"text": "\"\n\\" * 4000}})
    client.ask({"action": "act", "act": "wrote", "details": {"text": "short"}})
    lines = [json.loads(line) for line in server.log().splitlines()]
    audit = [line for line in lines if line["event"] == "audit"]
    assert [line["action"] for line in audit] == ["wrote", "wrote"]
    assert audit[0]["connection"] == client.id and len(audit[0]["details"]) > 500
    assert json.loads(audit[1]["details"]) == {"action": "wrote", "text": "short"}


def test_the_chatbots_users_leave_a_trail_without_what_they_said(database, start_server):
    server = start_server(database, profile="chatbot", jwt_secret=SECRET)
    client = server.connect(f"token={token(SECRET, userId='u1', username='Ann', sessionId='s1')}",
                            welcome=False)
    client.send({"action": "chat_message",
                 "data": {"message": "the body marker", "sessionId": "s1"}})
    while client.recv_json()["type"] != "chat_response":
        pass
    client.close()
    wait_trail(server, ["connect", "chat_message", "disconnect"])
    trail = server.lines("audit")
    identifier = re.search(r" connection=(\S{20}) ", trail[0])[1]
    assert all(f" connection={identifier} " in line for line in trail)
    assert [details_of(line)["userId"] for line in trail] == ["u1"] * 3
    server.stop()
    assert "the body marker" not in server.log()
