# SPDX-License-Identifier: Apache-2.0
"""Tokens of handshakes: where they are found, what is refused, and what routes see of them."""
import base64
import hashlib
import hmac
import http.server
import json
import ssl
import threading
import time

import certificates
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from harness import ID, REQUEST_ID, Client, Gone, Refused, token, wait_for
from websockets.exceptions import InvalidState

SECRET = "a secret that is long enough for HS512, which wants sixty-four bytes of it"
SQL = """
create schema app;
create table app.seen (connection_id text, claims jsonb, token text);
create function app."$connect"(event switchboard.event) returns setof switchboard.delivery
language sql as $$
    insert into app.seen values (event.connection_id, event.claims, event.query ->> 'token');
    select switchboard.accept();
$$;
create function app.whoami(event switchboard.event) returns setof switchboard.delivery
language sql as $$
    select switchboard.reply(pg_catalog.jsonb_build_object(
               'id', event.connection_id, 'claims', event.claims, 'userId', event.user_id,
               'verified', event.token));
$$;
"""
SETTINGS = {"routes": "app", "auth": "required", "jwt_secret": SECRET, "jwt_leeway_s": 0}


@pytest.fixture
def app(database):
    database.execute(SQL)
    return database


@pytest.fixture
def start(app, start_server):
    """start(setting=value, ...): a server that wants tokens, unless the settings say otherwise."""
    def start(**settings):
        return start_server(app, **{**SETTINGS, **settings})
    return start


def who(client):
    return client.ask({"action": "whoami"})


def connect(server, **options):
    return server.connect(welcome=False, **options)


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assert_unauthorized(answer):
    """Section 8.1 of the contract, byte for byte."""
    assert answer.status == 401
    body = json.loads(answer.body)
    assert ID.match(body["connectionId"]) and REQUEST_ID.match(body["requestId"])
    assert answer.body.decode() == (
        '{"message": "Unauthorized", "connectionId":"%s", "requestId":"%s"}'
        % (body["connectionId"], body["requestId"]))
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert answer.header("x-amz-apigw-id") == body["requestId"]
    assert answer.header("x-amzn-ErrorType") is None
    return body


# ---- where the token is ----

def test_a_token_in_the_query_lets_in(shared):
    client = connect(shared, query="token=" + token(SECRET, sub="ann"))
    assert who(client)["claims"]["principalId"] == "ann"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_token_in_the_authorization_header_lets_in(shared, scheme):
    headers = [("Authorization", f"{scheme} {token(SECRET, sub='ben')}")]
    assert who(connect(shared, headers=headers))["claims"]["sub"] == "ben"


def test_a_token_as_subprotocol_lets_in_and_bearer_is_chosen(shared):
    client = connect(shared, subprotocols=["bearer", token(SECRET, sub="cid")])
    assert client.answer.header("Sec-WebSocket-Protocol") == "bearer"
    assert who(client)["claims"]["sub"] == "cid"


def test_no_subprotocol_is_chosen_when_none_was_offered(shared):
    client = connect(shared, query="token=" + token(SECRET, sub="ann"))
    assert client.answer.header("Sec-WebSocket-Protocol") is None


def test_two_authorization_headers_are_malformed(shared):
    headers = [("Authorization", "Bearer " + token(SECRET, sub=who)) for who in ("ann", "ben")]
    assert shared.refused(headers=headers).status == 400


# ---- 401 ----

def test_without_a_token_no_route_runs(shared, shared_database):
    before = shared_database.value("select count(*) from app.seen")
    body = assert_unauthorized(shared.refused())
    assert_unauthorized(shared.refused("token="))
    assert_unauthorized(shared.refused("token=" + token(SECRET, sub="x") + "&token="))
    assert_unauthorized(shared.refused(headers=[("Authorization", "Basic YTpi")]))
    assert shared_database.value("select count(*) from app.seen") == before
    assert shared_database.row(body["connectionId"]) is None
    shared.wait_line("token.refused", body["requestId"], "there is no token")


def signed(claims, header=None, secret=SECRET):
    """HS256, whatever the header says."""
    text = (part(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()) + "."
            + part(json.dumps(claims).encode()))
    return text + "." + part(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())


def bad_tokens():
    now = int(time.time())
    good = token(SECRET, sub="ann")
    head, claims, signature = good.split(".")
    return {
        "expired": token(SECRET, sub="ann", exp=now - 1),
        "not yet": token(SECRET, sub="ann", nbf=now + 60),
        "another secret": token("another secret", sub="ann"),
        "other claims": f"{head}.{part(b'{}')}.{signature}",
        "no signature": f"{head}.{claims}.",
        "two parts": f"{head}.{claims}",
        "alg none": f"{part(b'{}')}.{claims}.",
        "alg none, signed": signed({"sub": "ann"}, {"alg": "none"}),
        "alg None": f"{part(json.dumps({'alg': 'None', 'typ': 'JWT'}).encode())}.{claims}.",
        "RS256 in name": signed({"sub": "ann"}, {"alg": "RS256"}),
        "another type": signed({"sub": "ann"}, {"alg": "HS256", "typ": "logout+jwt"}),
        "critical": signed({"sub": "ann"}, {"alg": "HS256", "crit": ["exp"]}),
        "garbage": "garbage",
        "demo": "valid_ann",
    }


@pytest.mark.parametrize("kind", sorted(bad_tokens()))
def test_a_bad_token_is_refused(shared, kind):
    bad = bad_tokens()[kind]
    assert_unauthorized(shared.refused("token=" + bad))
    assert_unauthorized(shared.refused(headers=[("Authorization", "Bearer " + bad)]))
    assert bad not in shared.log()


def test_refusals_are_counted(shared):
    before = shared.metrics()["switchboard_connects_refused_total"]
    shared.refused()
    after = shared.metrics()
    assert after["switchboard_connects_refused_total"] == before + 1
    assert after["switchboard_pending_handshakes"] == 0


def test_the_leeway_covers_clocks_that_differ(start):
    server = start(jwt_leeway_s=60)
    now = int(time.time())
    for claims in ({"exp": now - 30}, {"nbf": now + 30}):
        assert who(connect(server, query="token=" + token(SECRET, sub="ann", **claims)))
    for claims in ({"exp": now - 90}, {"nbf": now + 120}):
        assert_unauthorized(server.refused("token=" + token(SECRET, sub="ann", **claims)))


def test_issuer_and_audience_have_to_be_the_set_ones(start):
    server = start(jwt_issuer="https://id.example", jwt_audience="app")
    good = {"sub": "ann", "iss": "https://id.example", "aud": ["web", "app"]}
    assert who(connect(server, query="token=" + token(SECRET, **good)))
    for wrong in ({"iss": "https://evil.example"}, {"aud": "web"}, {"aud": []}, {"iss": None}):
        assert_unauthorized(server.refused("token=" + token(SECRET, **{**good, **wrong})))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_tokens_of_another_maker_are_understood(shared, algorithm):
    made = jwt.encode({"sub": "ann", "exp": int(time.time()) + 60}, SECRET, algorithm=algorithm,
                      headers={"typ": "at+jwt"})
    assert who(connect(shared, query="token=" + made))["claims"]["sub"] == "ann"


def test_required_without_a_key_lets_nobody_in_and_says_why_once(start):
    server = start(jwt_secret="")
    for _ in range(3):
        assert_unauthorized(server.refused("token=" + token(SECRET, sub="ann")))
    assert "jwt_secret" in server.wait_line("auth.no_key")
    assert len(server.lines("auth.no_key")) == 1


# ---- what routes see ----

def test_claims_are_in_every_event_and_in_the_row(shared, shared_database):
    claims = {"sub": "s-1", "userId": "u-1", "username": "Ann", "email": "Ann@Example.com",
              "roles": ["admin", "user"], "level": 7, "active": True, "nothing": None,
              "nested": {"a": 1}, "exp": int(time.time()) + 600}
    client = connect(shared, query="token=" + token(SECRET, **claims))
    seen = who(client)
    assert seen["claims"] == {
        "principalId": "s-1", "sub": "s-1", "userId": "u-1", "username": "Ann",
        "email": "Ann@Example.com", "roles": '["admin","user"]', "level": "7", "active": "true",
        "nested": '{"a":1}', "exp": str(claims["exp"])}
    assert seen["userId"] == "u-1"
    row = shared_database.row(seen["id"])
    assert (row["user_id"], row["user_name"], row["user_email"]) == ("u-1", "Ann", "ann@example.com")
    assert row["claims"] == seen["claims"]
    at_connect = shared_database.execute("select * from app.seen where connection_id = %s",
                                         seen["id"])
    assert at_connect[0]["claims"] == seen["claims"]


def test_the_principal_is_the_user_id_when_there_is_no_sub(shared):
    client = connect(shared, query="token=" + token(SECRET, userId="u-2"))
    assert who(client)["claims"]["principalId"] == "u-2"


# ---- off and optional ----

def test_off_leaves_tokens_to_the_route(start):
    server = start(auth="off")
    assert who(connect(server))["claims"] is None
    client = connect(server, query="token=" + token(SECRET, sub="ann"))
    assert who(client)["claims"] is None
    assert connect(server, query="token=garbage").ping() == b"hello"


def test_optional_passes_good_claims_and_shows_bad_tokens(start, app):
    server = start(auth="optional")
    good = connect(server, query="token=" + token(SECRET, sub="ann"))
    assert who(good)["claims"]["sub"] == "ann"
    assert who(connect(server))["claims"] is None
    bad = who(connect(server, query="token=garbage"))
    assert bad["claims"] is None
    row = app.execute("select * from app.seen where connection_id = %s", bad["id"])[0]
    assert row["token"] == "garbage" and row["claims"] is None


def test_demo_tokens_work_with_the_setting_only_and_the_log_shouts(start, app):
    server = start(demo_tokens="on")
    client = connect(server, query="token=valid_ann")
    assert who(client)["claims"] == {"demo": "true", "principalId": "ann"}
    assert_unauthorized(server.refused("token=invalid_ann"))
    assert who(connect(server, query="token=" + token(SECRET, sub="b")))["claims"]["sub"] == "b"
    shout = server.wait_line("serve.demo_tokens", "level=warn")
    assert "EVERY TOKEN" in shout and "production" in shout
    quiet = start()
    assert_unauthorized(quiet.refused("token=valid_ann"))
    assert quiet.lines("serve.demo_tokens") == []


# ---- expiry ----

def test_the_connection_is_closed_when_its_token_expires(start, app):
    server = start(idle_timeout_ms=1600)  # the clock looks every tenth of a second then
    client = connect(server, query="token=" + token(SECRET, sub="ann", exp=int(time.time()) + 2))
    lasting = connect(server, query="token=" + token(SECRET, sub="ann"))
    seen = who(client)["id"]
    began = time.time()
    pinger = threading.Event()
    while time.time() - began < 4:
        try:
            client.ping()
        except Gone:
            break
        except InvalidState:  # the close frame came in one read with the pong
            client.wait_closed()
            break
        lasting.ping()
        pinger.wait(0.05)
    assert client.protocol.close_code == 1008
    assert client.protocol.close_reason == "Token expired"
    row = app.wait_inactive(seen)
    assert (row["disconnect_code"], row["disconnect_reason"]) == (1008, "Token expired")
    assert lasting.ping() == b"hello"


def test_expiry_closes_nothing_when_the_setting_is_off(start):
    server = start(idle_timeout_ms=1600, token_expiry_closes="off")
    client = connect(server, query="token=" + token(SECRET, sub="ann", exp=int(time.time()) + 1))
    began = time.time()
    pause = threading.Event()
    while time.time() - began < 2.5:
        client.ping()
        pause.wait(0.05)
    assert who(client)["claims"]["sub"] == "ann"


# ---- public keys ----

RSA_KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def number(value, size=None):
    return part(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key, kid):
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": number(numbers.n),
                "e": number(numbers.e)}
    return {"kty": "EC", "kid": kid, "crv": "P-256", "x": number(numbers.x, 32),
            "y": number(numbers.y, 32)}


def key_token(key, kid=None, **claims):
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode({"exp": int(time.time()) + 600, "sub": "ann", **claims}, key, algorithm,
                      headers={"kid": kid} if kid else None)


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("key", [RSA_KEYS[0], EC_KEY], ids=["RS256", "ES256"])
def test_a_public_key_file_checks_tokens_and_is_no_secret(start, tmp_path, key):
    path = tmp_path / "key.pem"
    path.write_text(pem(key))
    server = start(jwt_secret="", jwt_public_key_file=path)
    assert who(connect(server, query="token=" + key_token(key)))["claims"]["sub"] == "ann"
    assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[1])))
    for secret in (pem(key), pem(key).strip(), ""):
        assert_unauthorized(server.refused("token=" + signed({"sub": "ann"}, secret=secret)))


def test_a_key_set_file_is_read_again_when_it_changes(start, tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [jwk(RSA_KEYS[0], "one"), jwk(EC_KEY, "two")]}))
    server = start(jwt_secret="", jwt_jwks_file=path)
    assert who(connect(server, query="token=" + key_token(RSA_KEYS[0], "one")))
    assert who(connect(server, query="token=" + key_token(EC_KEY, "two")))
    assert who(connect(server, query="token=" + key_token(EC_KEY)))
    assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[0], "two")))
    assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[1], "three")))
    fresh = tmp_path / "keys.json.new"
    fresh.write_text(json.dumps({"keys": [jwk(RSA_KEYS[1], "three")]}))
    fresh.rename(path)
    assert who(connect(server, query="token=" + key_token(RSA_KEYS[1], "three")))
    assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[0], "one")))


class KeyServer:
    """Serves a key set; hold() makes requests wait, status makes them fail."""

    def __init__(self, tls=None):
        self.keys = []
        self.status = 200
        self.requests = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests += 1
                outer.may_answer.wait(20)
                body = json.dumps({"keys": outer.keys}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.may_answer.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def key_server():
    server = KeyServer()
    yield server
    server.close()


def test_keys_are_fetched_with_tls_from_whom_one_trusts(start, tmp_path):
    names = ["root.pem", "server.pem", "key.pem"]
    for name, text in zip(names, certificates.server("127.0.0.1")):
        (tmp_path / name).write_text(text)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "key.pem")
    key_server = KeyServer(tls)
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(jwt_jwks_url=key_server.url, tls_ca_file=tmp_path / "root.pem")
    server.wait_line("jwks.fetched", "keys=1")
    server.stop()
    server = start(jwt_jwks_url=key_server.url)
    server.wait_line("jwks.fetch_failed", "certificate")
    key_server.close()


def test_keys_are_fetched_cached_and_rotated(start, key_server):
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(jwt_secret="", jwt_jwks_url=key_server.url)
    server.wait_line("jwks.fetched", "keys=1")
    for _ in range(5):
        assert who(connect(server, query="token=" + key_token(RSA_KEYS[0], "one")))
    assert key_server.requests == 1
    # Rotation: the first token with the new key has the keys fetched, and waits for them.
    key_server.keys = [jwk(EC_KEY, "two")]
    assert who(connect(server, query="token=" + key_token(EC_KEY, "two")))
    assert key_server.requests == 2
    assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[0], "one")))
    # Made-up ids do not become requests.
    for n in range(20):
        assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[1], f"made-up-{n}")))
    assert key_server.requests == 2


def test_the_cache_is_renewed(start, key_server):
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(jwt_secret="", jwt_jwks_url=key_server.url, jwt_jwks_cache_s=1)
    assert who(connect(server, query="token=" + key_token(RSA_KEYS[0], "one")))
    key_server.keys = [jwk(RSA_KEYS[1], "two")]
    wait_for(lambda: len(server.lines("jwks.fetched")) >= 3, "the keys were fetched again")
    assert_unauthorized(server.refused("token=" + key_token(RSA_KEYS[0], "one")))


def test_a_slow_key_server_delays_the_new_key_and_nobody_else(start, key_server):
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(jwt_jwks_url=key_server.url)
    server.wait_line("jwks.fetched")
    key_server.may_answer.clear()
    key_server.keys = [jwk(EC_KEY, "two")]
    query = "token=" + key_token(EC_KEY, "two")
    waiting = Client(server.url(query), handshake=False)
    also_waiting = Client(server.url(query), handshake=False)
    wait_for(lambda: key_server.requests == 2, "the keys are asked for")
    began = time.monotonic()
    others = [connect(server, query="token=" + key_token(RSA_KEYS[0], "one")),
              connect(server, query="token=" + token(SECRET, sub="ben"))]
    assert all(who(client)["claims"]["sub"] in ("ann", "ben") for client in others)
    assert time.monotonic() - began < 3
    assert server.metrics()["switchboard_pending_handshakes"] == 2
    key_server.may_answer.set()
    for client in (waiting, also_waiting):
        client.finish_handshake()
        assert who(client)["claims"]["sub"] == "ann"
        client.close()
    assert server.lines("loop.slow_turn") == []


def test_a_key_server_that_is_away_changes_nothing_for_known_keys(start, key_server):
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(jwt_secret="", jwt_jwks_url=key_server.url, jwt_jwks_cache_s=1)
    server.wait_line("jwks.fetched")
    key_server.status = 500
    server.wait_line("jwks.fetch_failed", "status 500")
    assert who(connect(server, query="token=" + key_token(RSA_KEYS[0], "one")))
    assert_unauthorized(server.refused("token=" + key_token(EC_KEY, "two")))
    key_server.status = 200
    key_server.keys = [jwk(EC_KEY, "two")]
    wait_for(lambda: _enters(server, key_token(EC_KEY, "two")), "the new key is known", 30)
    assert len(server.lines("jwks.fetch_failed")) == 1


def _enters(server, text):
    try:
        connect(server, query="token=" + text).close()
    except Refused:
        return False
    return True


def test_the_server_stops_while_keys_are_being_fetched(start, key_server):
    key_server.may_answer.clear()
    server = start(jwt_secret="", jwt_jwks_url=key_server.url)
    waiting = Client(server.url("token=" + key_token(EC_KEY, "two")), handshake=False)
    wait_for(lambda: server.metrics()["switchboard_pending_handshakes"] == 1, "it waits")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5
    with pytest.raises(Refused) as refused:
        waiting.finish_handshake()
    assert refused.value.answer.status == 503


def test_a_key_set_that_is_none_stops_the_start(app, tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}')
    done = app.command("serve", jwt_jwks_file=path, port=0, admin_port=0)
    assert done.returncode == 1 and str(path) in done.stderr


# ---- tokens in messages ----

def test_a_token_in_a_message_is_checked_with_the_same_keys(start, key_server):
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(auth="off", jwt_jwks_url=key_server.url)
    server.wait_line("jwks.fetched")
    client = connect(server)
    for good in (token(SECRET, sub="ann"), key_token(RSA_KEYS[0], "one")):
        assert client.ask({"action": "whoami", "token": good})["verified"]["sub"] == "ann"
    for bad in bad_tokens().values():
        assert client.ask({"action": "whoami", "token": bad})["verified"] is None


def test_messages_wait_in_order_while_the_key_of_one_is_fetched(start, key_server):
    key_server.keys = [jwk(RSA_KEYS[0], "one")]
    server = start(auth="off", jwt_jwks_url=key_server.url)
    server.wait_line("jwks.fetched")
    client = connect(server)
    key_server.may_answer.clear()
    key_server.keys = [jwk(EC_KEY, "two")]
    client.send({"action": "whoami", "token": key_token(EC_KEY, "two")})
    client.send({"action": "whoami"})
    wait_for(lambda: key_server.requests == 2, "the keys are asked for")
    client.assert_silent()
    key_server.may_answer.set()
    assert client.recv_json()["verified"]["sub"] == "ann"
    assert client.recv_json()["verified"] is None
