# SPDX-License-Identifier: Apache-2.0
"""Logging in at the database with IAM tokens and with secrets of AWS Secrets Manager.

What we sign is signed again by botocore, which has to come to the same.
"""
import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import random
import re
import select
import shutil
import socket
import ssl
import struct
import threading
import types
import unittest.mock
import urllib.parse

import botocore.auth
import botocore.session
import botocore.signers
import psycopg2
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from harness import Cluster, run_command, token, wait_for

KEY, SECRET_KEY, SESSION_TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "IQoJ/session+token=="
AWS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "eu-central-1"}
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:database-AbCdEf"
KEY_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf"
USER = "switchboard_gateway"
GOOD, BETTER = "first p@ssword/'\"", "second-password"
JWT_KEY = "a key that is kept by Secrets Manager"
RELAYED = '{"statusCode":200}'


# ---- certificates ----

def write_certificate(folder, *addresses):
    """A self-signed one, with its key behind it in a second file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.utcnow()
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses])
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                   .add_extension(names, critical=False).sign(key, hashes.SHA256()))
    certificate_path, key_path = folder / "server.crt", folder / "server.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    key_path.chmod(0o600)
    return certificate_path, key_path


@pytest.fixture
def tls(tmp_path):
    certificate, key = write_certificate(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return types.SimpleNamespace(context=context, certificate=certificate)


# ---- a database that wants a token ----

class Database:
    """For the harness: nothing but the way there."""

    def __init__(self, url):
        self.gateway_url = url


class TokenServer:
    """TLS and the question for a password in front of a PostgreSQL that asks nobody: what RDS does
    with rds_iam.  Keeps what it was told."""

    def __init__(self, context, behind):
        self.context = context
        self.behind = behind  # path of a socket
        self.accepts = True
        self.logins = []  # (parameters of the startup packet, password)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self.socket.accept()[:1],
                                 daemon=True).start()

    @staticmethod
    def _read(connection, length):
        data = b""
        while len(data) < length:
            more = connection.recv(length - len(data))
            if not more:
                raise ConnectionError("gone")
            data += more
        return data

    def _serve(self, plain):
        with contextlib.suppress(OSError), plain:
            assert self._read(plain, 8) == struct.pack("!II", 8, 80877103), "it did not ask for TLS"
            plain.sendall(b"S")
            with self.context.wrap_socket(plain, server_side=True) as connection:
                self._greet(connection)

    def _greet(self, connection):
        head = self._read(connection, 4)
        startup = head + self._read(connection, struct.unpack("!I", head)[0] - 4)
        words = startup[8:].split(b"\0")
        parameters = {words[i].decode(): words[i + 1].decode() for i in range(0, len(words) - 2, 2)}
        connection.sendall(b"R" + struct.pack("!II", 8, 3))
        assert self._read(connection, 1) == b"p"
        length = struct.unpack("!I", self._read(connection, 4))[0]
        self.logins.append((parameters, self._read(connection, length - 4)[:-1].decode()))
        if self.accepts:
            self._relay(connection, startup)
            return
        fields = (b"SFATAL\0VFATAL\0C28000\0MPAM authentication failed for user \"%s\"\0"
                  b"Fauth.c\0L323\0Rauth_failed\0\0" % USER.encode())
        connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    def _relay(self, connection, startup):
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.behind)
            server.sendall(startup)
            while True:
                ready = ([connection] if connection.pending()
                         else select.select([connection, server], [], [])[0])
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is connection else connection).sendall(data)


@pytest.fixture
def token_server(tls, cluster):
    server = TokenServer(tls.context, str(cluster.home / ".s.PGSQL.5432"))
    yield server
    server.close()


def throw_out(database):
    """Of the database, whoever it lets in as the program."""
    database.cluster.admin("select pg_terminate_backend(pid) from pg_stat_activity"
                           f" where usename = '{USER}' and datname = '{database.name}'")


def token_url(token_server, database, more="sslmode=prefer"):
    return f"postgresql://{USER}@127.0.0.1:{token_server.port}/{database.name}?{more}"


def at(moment):
    """botocore's clock, for as long as the block lasts."""
    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return moment

    return unittest.mock.patch.object(botocore.auth, "datetime",
                                      types.SimpleNamespace(datetime=Clock))


def botocore_token(moment, port, session_token):
    client = botocore.session.Session().create_client(
        "rds", region_name="eu-central-1", aws_access_key_id=KEY,
        aws_secret_access_key=SECRET_KEY, aws_session_token=session_token)
    with at(moment):
        return botocore.signers.generate_db_auth_token(client, "127.0.0.1", port, USER)


def date_of(text):
    return datetime.datetime.strptime(re.search(r"X-Amz-Date=(\w+)", text)[1], "%Y%m%dT%H%M%SZ")


def assert_no_secrets(server, *more):
    log = server.log()
    for word in (SECRET_KEY, SESSION_TOKEN, urllib.parse.quote(SESSION_TOKEN, safe=""),
                 "X-Amz-Signature", GOOD, BETTER, JWT_KEY, *more):
        assert word not in log


@pytest.mark.parametrize("session_token", [None, SESSION_TOKEN])
def test_every_connection_has_a_token_of_its_own_that_is_botocores(
        token_server, database, tls, start_server, session_token):
    more = {"AWS_SESSION_TOKEN": session_token} if session_token else {}
    url = token_url(token_server, database, f"sslmode=verify-full&sslrootcert={tls.certificate}")
    server = start_server(Database(url), database_auth="iam", **AWS, **more)
    assert server.connect().ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    first = [password for _, password in token_server.logins]
    assert len(first) == 6  # with the default pool
    # A second later the database throws everybody out.
    wait_for(lambda: datetime.datetime.utcnow() > date_of(first[-1])
             + datetime.timedelta(seconds=1), "a second has passed")
    throw_out(database)
    wait_for(lambda: len(token_server.logins) >= 12, "it has logged in again")
    server.wait_ready()
    for parameters, password in token_server.logins:
        assert parameters["user"] == USER
        assert "options" not in parameters
        assert password == botocore_token(date_of(password), token_server.port, session_token)
        assert abs(date_of(password) - datetime.datetime.utcnow()) < datetime.timedelta(minutes=2)
    assert {password for _, password in token_server.logins[6:]}.isdisjoint(first)
    assert_no_secrets(server)


def test_a_token_that_is_refused_is_one_line_with_the_likely_causes(
        token_server, database, start_server):
    token_server.accepts = False
    server = start_server(Database(token_url(token_server, database)), wait=False,
                          database_auth="iam", **AWS)
    wait_for(lambda: len(token_server.logins) > 12, "it tries again and again")
    line, = server.lines("database.refused")
    assert "level=error" in line and "sqlstate=28000" in line
    assert "PAM authentication failed" in line
    assert "rds_iam" in line and "rds-db:connect" in line and "clock" in line
    assert not server.lines("database.away")
    token_server.accepts = True
    server.wait_ready()
    server.wait_line("database.connected")
    assert_no_secrets(server)
    token_server.accepts = False  # another time, another line
    throw_out(database)
    wait_for(lambda: len(server.lines("database.refused")) == 2, "the second line")
    token_server.accepts = True
    server.wait_ready()


def test_commands_log_in_with_tokens_too(token_server, database):
    url = token_url(token_server, database)
    done = run_command(url, "cleanup", database_auth="iam", **AWS)
    assert done.returncode == 0, done.stderr
    password = token_server.logins[-1][1]
    assert password == botocore_token(date_of(password), token_server.port, None)
    token_server.accepts = False
    done = run_command(url, "migrate", "status", database_auth="iam", **AWS)
    assert done.returncode == 1
    assert "rds_iam" in done.stderr and "X-Amz" not in done.stderr


def test_tokens_are_never_sent_in_the_clear(token_server, database):
    plain = token_url(token_server, database, "sslmode=disable")
    for command in ("serve", "backend", "migrate", "cleanup"):
        done = run_command(plain, command, database_auth="iam", port=0, admin_port=0,
                           backend_port=0, **AWS)
        assert done.returncode == 1
        assert "sslmode=disable" in done.stderr
    assert not token_server.logins


def test_settings_that_do_not_fit_end_it_at_once(database):
    for settings, part in (({"database_auth": "iam"}, "AWS_ACCESS_KEY_ID"),
                           ({"database_auth": "iam", **AWS}, "host"),
                           ({"database_auth": "secret", **AWS}, "database_secret_arn"),
                           ({"tls_ca_file": "/nowhere/ca.pem"}, "tls_ca_file"),
                           ({"jwt_secret": "a", "jwt_secret_arn": "b"}, "both set")):
        done = run_command(database.gateway_url, "serve", port=0, admin_port=0, **settings)
        assert done.returncode == 1, settings
        assert part in done.stderr, done.stderr
    done = run_command(database.gateway_url, "serve", database_auth="kerberos")
    assert done.returncode == 2 and "password iam secret" in done.stderr


# ---- Secrets Manager ----

class SecretsManager:
    """GetSecretValue, for those whose signature is the one that botocore makes."""

    def __init__(self, context=None):
        outer = self
        self.secrets = {}
        self.refusal = None  # (status, type)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.requests = []
        self.problems = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = outer.answer(self, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that do not like the certificate
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.may_answer.set()
        self.server.shutdown()
        self.server.server_close()
        assert not self.problems

    def check_signature(self, request, body):
        authorization = request.headers["Authorization"]
        signed = re.search(r"SignedHeaders=([^,]+)", authorization)[1].split(";")
        assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(signed)
        again = AWSRequest(method="POST", url=self.url + request.path, data=body,
                           headers={name: request.headers[name] for name in signed})
        again.context["timestamp"] = request.headers["X-Amz-Date"]
        signer = botocore.auth.SigV4Auth(
            Credentials(KEY, SECRET_KEY, request.headers["X-Amz-Security-Token"]),
            "secretsmanager", "eu-west-1")
        text = signer.string_to_sign(again, signer.canonical_request(again))
        assert authorization.endswith("Signature=" + signer.signature(text, again))
        assert signer.scope(again) in authorization

    def answer(self, request, body):
        if request.path == "/relay":
            return 200, RELAYED.encode()
        try:
            assert request.path == "/"
            assert request.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
            assert request.headers["Content-Type"] == "application/x-amz-json-1.1"
            self.check_signature(request, body)
        except AssertionError as problem:
            self.problems.append(problem)
            raise
        wanted = json.loads(body)
        self.requests.append(wanted)
        self.may_answer.wait(20)
        if self.refusal:
            status, kind = self.refusal
            return status, json.dumps({"__type": kind, "Message": "no"}).encode()
        secret = self.secrets[wanted["SecretId"]]
        return 200, json.dumps({"ARN": wanted["SecretId"], "Name": "n", "VersionId": "v",
                                "SecretString": secret, "VersionStages": ["AWSCURRENT"]}).encode()


@pytest.fixture
def secrets_manager():
    server = SecretsManager()
    yield server
    server.close()


def rds_secret(password, user=USER):
    return json.dumps({"username": user, "password": password, "engine": "postgres"})


class TlsCluster:
    """PostgreSQL on a loopback address of its own, with TLS and passwords."""

    def __init__(self, folder):
        self.cluster = Cluster()
        self.cluster.prepare()
        self.address = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}.7"
        certificate, key = write_certificate(folder, self.address)
        self.certificate = certificate
        home = self.cluster.home
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            shutil.copy(source, home / name)
            os.chmod(home / name, 0o600)
            if os.geteuid() == 0:
                shutil.chown(home / name, "postgres", "postgres")
        self.cluster.stop()
        hba = self.cluster.data / "pg_hba.conf"  # the first line that fits counts
        hba.write_text("hostssl all all 127.0.0.0/8 scram-sha-256\n" + hba.read_text())
        self.cluster.options = (f" -c listen_addresses={self.address} -c ssl=on"
                                f" -c ssl_cert_file={home}/server.crt"
                                f" -c ssl_key_file={home}/server.key")
        self.cluster.start()
        self.database = self.cluster.create_database()
        self.url = (f"postgresql://nobody@{self.address}/{self.database.name}"
                    f"?sslmode=verify-full&sslrootcert={certificate}")

    def ask(self, statement, *values):
        connection = psycopg2.connect(self.cluster.url(self.cluster.superuser, "postgres"))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def set_password(self, password):
        self.ask(f"alter role {USER} password %s", password)

    def refusals(self):
        log = (self.cluster.home / "postgres.log").read_text(errors="replace")
        return log.count("password authentication failed")


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory):
    cluster = TlsCluster(tmp_path_factory.mktemp("tls"))
    yield cluster
    cluster.cluster.remove()


@pytest.fixture
def guarded(tls_cluster, secrets_manager):
    """The database and the secret that opens it."""
    tls_cluster.set_password(GOOD)
    secrets_manager.secrets[ARN] = rds_secret(GOOD)
    return tls_cluster


def secret_settings(secrets_manager):
    return {"database_auth": "secret", "database_secret_arn": ARN,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets_manager.url, **AWS,
            "AWS_SESSION_TOKEN": SESSION_TOKEN}


def test_user_and_password_come_from_the_secret_once_for_all_connections(
        guarded, secrets_manager, start_server):
    server = start_server(Database(guarded.url), **secret_settings(secrets_manager))
    assert server.connect().ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert secrets_manager.requests == [{"SecretId": ARN}]
    assert guarded.ask("select count(*), bool_and(s.ssl) from pg_stat_activity as a"
                       " join pg_stat_ssl as s using (pid) where a.usename = %s and a.datname = %s",
                       USER, guarded.database.name) == [(6, True)]
    assert_no_secrets(server)


def test_a_rotated_password_is_fetched_again_and_nobody_notices(
        guarded, secrets_manager, start_server):
    server = start_server(Database(guarded.url), **secret_settings(secrets_manager))
    client = server.connect()
    guarded.set_password(BETTER)
    secrets_manager.secrets[ARN] = rds_secret(BETTER)
    throw_out(guarded.database)
    server.wait_line("database.secret_fetched", "times=2")
    server.wait_ready()
    assert client.ask({"type": "heartbeat"})["type"] == "heartbeat-response"
    assert len(secrets_manager.requests) == 2
    assert not server.lines("database.refused")
    assert_no_secrets(server)


def test_a_password_that_stays_wrong_is_fetched_again_once_and_is_one_line(
        guarded, secrets_manager, start_server):
    server = start_server(Database(guarded.url), **secret_settings(secrets_manager))
    guarded.set_password(BETTER)
    before = guarded.refusals()
    throw_out(guarded.database)
    line = server.wait_line("database.refused")
    assert "level=error" in line and "sqlstate=28P01" in line and "rotated" in line
    wait_for(lambda: guarded.refusals() > before + 20, "it tries again and again")
    assert len(secrets_manager.requests) == 2
    assert len(server.lines("database.refused")) == 1
    guarded.set_password(GOOD)
    server.wait_ready()
    assert_no_secrets(server)


def test_a_password_alone_is_for_the_user_of_the_connection_string(
        guarded, secrets_manager, start_server):
    secrets_manager.secrets[ARN] = GOOD
    server = start_server(Database(guarded.url.replace("nobody", USER)),
                          **secret_settings(secrets_manager))
    assert server.connect().id


def test_nothing_waits_for_secrets_manager_but_the_database(
        guarded, secrets_manager, start_server):
    secrets_manager.may_answer.clear()
    server = start_server(Database(guarded.url), wait=False, **secret_settings(secrets_manager))
    line = server.wait_line("serve.start")
    server.port = int(re.search(r" port=(\d+)", line)[1])
    server.admin_port = int(re.search(r"admin_port=(\d+)", line)[1])
    wait_for(lambda: secrets_manager.requests, "it asks")
    assert server.http("GET", "/live").status == 200
    assert server.http("GET", "/ready").status == 503
    assert not server.lines("loop.slow_turn")
    secrets_manager.may_answer.set()
    server.wait_ready()
    assert len(secrets_manager.requests) == 1


def test_it_ends_while_secrets_manager_does_not_answer(guarded, secrets_manager, start_server):
    secrets_manager.may_answer.clear()
    server = start_server(Database(guarded.url), wait=False, **secret_settings(secrets_manager))
    wait_for(lambda: secrets_manager.requests, "it asks")
    server.stop()


def test_a_secret_that_may_not_be_read_is_one_line_with_the_likely_cause(
        guarded, secrets_manager, start_server):
    secrets_manager.refusal = (400, "AccessDeniedException")
    server = start_server(Database(guarded.url), wait=False, **secret_settings(secrets_manager))
    line = server.wait_line("database.no_login")
    assert "level=error" in line and "secretsmanager:GetSecretValue" in line
    wait_for(lambda: len(secrets_manager.requests) >= 2, "it asks again")
    assert len(server.lines("database.no_login")) == 1
    secrets_manager.refusal = None
    server.wait_ready()


def test_commands_ask_secrets_manager_too(guarded, secrets_manager):
    settings = secret_settings(secrets_manager)
    done = run_command(guarded.url, "cleanup", **settings)
    assert done.returncode == 0, done.stderr
    secrets_manager.secrets[ARN] = rds_secret("wrong")
    done = run_command(guarded.url, "migrate", "status", **settings)
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr and "rotated" in done.stderr
    secrets_manager.refusal = (400, "ResourceNotFoundException")
    done = run_command(guarded.url, "cleanup", **settings)
    assert done.returncode == 1
    assert "ResourceNotFoundException" in done.stderr and "ARN" in done.stderr
    for text in ("", "{}", '{"username":"x"}'):
        secrets_manager.refusal = None
        secrets_manager.secrets[ARN] = text
        done = run_command(guarded.url, "cleanup", **settings)
        assert done.returncode == 1 and "the secret" in done.stderr


# ---- the key of tokens ----

def test_the_key_of_tokens_is_fetched_at_start(database, secrets_manager, start_server):
    settings = {"jwt_secret_arn": KEY_ARN, "AWS_ENDPOINT_URL": secrets_manager.url, **AWS}
    secrets_manager.secrets[KEY_ARN] = JWT_KEY
    server = start_server(database, auth="required", **settings)
    assert server.connect("token=" + token(JWT_KEY, sub="ann")).id
    assert server.refused("token=" + token("another", sub="ann")).status == 401
    assert secrets_manager.requests == [{"SecretId": KEY_ARN}]
    secrets_manager.secrets[KEY_ARN] = json.dumps({"jwt_secret": JWT_KEY})
    made = database.command("token", "--claims", '{"sub":"ben"}', **settings)
    assert made.returncode == 0, made.stderr
    assert server.connect("token=" + made.stdout.strip()).id
    assert_no_secrets(server)
    secrets_manager.refusal = (400, "AccessDeniedException")
    for command in ("serve", "token"):
        done = database.command(command, port=0, admin_port=0, **settings)
        assert done.returncode == 1
        assert "jwt_secret_arn" in done.stderr and "AccessDenied" in done.stderr


# ---- roots ----

@pytest.fixture
def tls_secrets_manager(tls):
    server = SecretsManager(tls.context)
    yield server
    server.close()


def test_tls_ca_file_has_the_roots_of_secrets_manager(database, tls, tls_secrets_manager):
    tls_secrets_manager.secrets[KEY_ARN] = JWT_KEY
    settings = {"jwt_secret_arn": KEY_ARN, "AWS_ENDPOINT_URL": tls_secrets_manager.url, **AWS}
    done = database.command("token", **settings)
    assert done.returncode == 1
    assert "certificate" in done.stderr
    done = database.command("token", tls_ca_file=tls.certificate, **settings)
    assert done.returncode == 0, done.stderr


def test_tls_ca_file_has_the_roots_of_integrations(tls, tls_secrets_manager, start_server, tmp_path):
    api = tmp_path / "gateway.json"
    api.write_text(json.dumps({
        "routeSelectionExpression": "$request.body.action",
        "integrations": {"relay": {"type": "http_proxy", "method": "POST",
                                   "url": tls_secrets_manager.url + "/relay"}},
        "routes": {"$default": {"integration": "relay", "routeResponse": True}}}))
    client = start_server(None, api=api, tls_ca_file=tls.certificate).connect(welcome=False)
    client.send({"action": "x"})
    assert client.recv() == RELAYED
    other = start_server(None, api=api).connect(welcome=False)
    other.send({"action": "x"})
    assert "Internal server error" in other.recv()
