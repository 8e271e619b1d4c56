# SPDX-License-Identifier: Apache-2.0
"""A gateway with API Gateway's values, and the routes that the contract tests need."""
import re

from harness import wait_for

STRICT = {"aws_strict": "on", "routes": "app", "close_timeout_ms": 500}
SQL = """
    create schema app;
    create table app.ended (connection_id text, code integer, reason text);
    create function app."$connect"(event switchboard.event)
    returns setof switchboard.delivery language plpgsql as $$
    begin
        if event.query ? 'status' then
            raise exception '%', event.query ->> 'body' using errcode = 'SB' || (event.query ->> 'status');
        end if;
        return next switchboard.reply(jsonb_build_object('type', 'connection-established',
                                                         'sessionId', event.connection_id));
    end $$;
    create function app."$disconnect"(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        insert into app.ended
        values (event.connection_id, event.disconnect_code, event.disconnect_reason);
        select null::text, null::text, null::text, null::text where false;
    $$;
    create function app.echo(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        select * from switchboard.reply(event.body -> 'n')
    $$;
    create function app.costly(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        select * from switchboard.reply(event.body -> 'n')
    $$;
    create function app.size(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        select * from switchboard.reply(to_jsonb(octet_length(event.raw_body)))
    $$;
    create function app.big(event switchboard.event)
    returns setof switchboard.delivery language sql as $$
        select * from switchboard.reply(to_jsonb(repeat('x', (event.body ->> 'n')::integer)))
    $$;
"""

# Of a rejected handshake and of a message alike; the blanks are API Gateway's.
TEMPLATE = (r'\{"message": "%s", "connectionId":"([A-Za-z0-9_-]{18}==)",'
            r' "requestId":"([A-Za-z0-9_-]{15}=)"\}')


def ids_in(text, message):
    """The connection's and the request's id of a frame or body that has to say just that."""
    match = re.fullmatch(TEMPLATE % re.escape(message), text)
    assert match, text
    return match[1], match[2]


def message_of(size):
    head, tail = '{"action":"size","pad":"', '"}'
    return head + "x" * (size - len(head) - len(tail)) + tail


def ended(server, client):
    """Code and reason that $disconnect was told, which has run once, and what the row says."""
    def rows():
        return server.database.execute(
            "select code, reason from app.ended where connection_id = %s", client.id)
    wait_for(rows, "$disconnect has run")
    row = server.database.wait_inactive(client.id)
    assert len(rows()) == 1
    told = rows()[0]["code"], rows()[0]["reason"]
    assert told == (row["disconnect_code"], row["disconnect_reason"])
    return told
