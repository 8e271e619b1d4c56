# SPDX-License-Identifier: Apache-2.0
"""examples/chat-on-lambda: ./run, and stock clients."""
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess

import harness
import pytest
from functions import Functions
from gateway import Gateway, describe
from harness import ID, ROOT, SANITIZER, Client, Refused, wait_for

EXAMPLE = ROOT / "examples" / "chat-on-lambda"
START_SECONDS = 120  # npm ci included

pytestmark = pytest.mark.skipif(shutil.which("node") is None or shutil.which("npm") is None,
                                reason="needs Node.js and npm")


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return False
    return True


def free_ports(count):
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class Example:
    """./run in a process group of its own, which is killed as one."""

    def __init__(self, directory):
        self.directory = directory
        self.port, self.tls_port, self.functions_port = free_ports(3)
        self.process = None
        self.clients = []

    def start(self):
        env = harness.environment(None, {
            "PORT": self.port, "TLS_PORT": self.tls_port, "FUNCTIONS_PORT": self.functions_port,
            "STATE": self.directory / "state", "SWITCHBOARD": harness.BINARY})
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [EXAMPLE / "run", "--admin-port", "0", "--aws-strict", "on"], env=env,
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        wait_for(lambda: self._is_ready(), "./run says Ready", START_SECONDS)
        return self

    def _is_ready(self):
        assert self.process.poll() is None, self.log()
        return self.log().count("\nReady.") > self.log().count("killed by the test")

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def kill(self):
        """As a power cut does it: nobody says goodbye."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        # The others of the group are not ours to wait for; what they listen on goes with them.
        ports = (self.port, self.tls_port, self.functions_port)
        wait_for(lambda: not any(map(is_open, ports)), "nobody listens any more")
        with open(self.directory / "log", "a", encoding="ascii") as log:
            log.write("killed by the test\n")

    def stop(self):
        for client in self.clients:
            client.drop()
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        assert code == 0 and not SANITIZER.search(self.log()), self.log()

    def connect(self, name=None):
        query = f"?name={name}" if name else ""
        client = Client(f"ws://127.0.0.1:{self.port}/dev{query}")
        self.clients.append(client)
        return client

    def stored(self):
        """The names by connection id, as the handlers keep them."""
        try:
            return json.loads((self.directory / "state" / "connections.json").read_text())
        except FileNotFoundError:
            return {}


@pytest.fixture(scope="module", autouse=True)
def packages():
    """What ./run does the first time, once for the tests that do not call it."""
    if not (EXAMPLE / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=EXAMPLE, check=True)


@pytest.fixture
def example(tmp_path, request):
    example = Example(tmp_path)
    try:
        yield example.start()
    finally:
        if getattr(request.node, "has_failed", False):
            print(example.log()[-8000:])
        example.stop()


def test_two_people_talk(example):
    ann, ben = example.connect("ann"), example.connect("ben")
    assert sorted(example.stored().values()) == ["ann", "ben"]
    ann.send({"action": "sendmessage", "data": "hello"})
    for client in (ann, ben):
        assert client.recv_json() == {"type": "message", "from": "ann", "data": "hello"}
    ben.send({"action": "sendmessage", "data": "h\u00e4llo \U0001f600"})
    for client in (ann, ben):
        assert client.recv_json() == {"type": "message", "from": "ben",
                                      "data": "h\u00e4llo \U0001f600"}


def test_nobody_without_a_name_comes_in(example):
    with pytest.raises(Refused) as refusal:
        example.connect()
    assert refusal.value.answer.status == 400
    assert refusal.value.answer.body == b"Say who you are: ?name=..."
    assert example.stored() == {}


def test_default_answers_with_what_get_connection_says(example):
    ann = example.connect("ann")
    ann.send("what can I do?")
    answer = ann.recv_json()
    assert answer["type"] == "help"
    assert answer["usage"] == {"action": "sendmessage", "data": "hello"}
    assert answer["you"]["connectionId"] in example.stored()
    assert answer["you"]["sourceIp"] == "127.0.0.1"
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", answer["you"]["connectedAt"])


def test_who_leaves_is_taken_out_of_the_store(example):
    ann, ben = example.connect("ann"), example.connect("ben")
    ben.close()
    wait_for(lambda: list(example.stored().values()) == ["ann"], "ben is out of the store")
    ann.send({"action": "sendmessage", "data": "alone"})
    assert ann.recv_json()["data"] == "alone"


def test_a_connection_that_vanished_is_cleaned_up_by_gone_exception(example):
    """Nobody has told the store: its connections went with the gateway of the run before."""
    example.connect("ghost")
    ghost, = example.stored()
    assert ID.match(ghost)
    example.kill()
    example.start()
    assert ghost in example.stored()
    ann = example.connect("ann")
    ann.send({"action": "sendmessage", "data": "anybody?"})
    assert ann.recv_json()["data"] == "anybody?"
    wait_for(lambda: list(example.stored().values()) == ["ann"], "the ghost is out of the store")


def test_an_error_of_a_handler_is_an_error_frame(example):
    ann = example.connect("ann")
    connection, = example.stored()
    (example.directory / "state" / "connections.json").write_text("{ broken")
    ann.send({"action": "sendmessage", "data": "hello"})
    frame = ann.recv()
    assert frame.startswith('{"message": "Internal server error", "connectionId":"%s"' % connection)
    (example.directory / "state" / "connections.json").write_text("{}")
    ann.send({"action": "other"})
    assert ann.recv_json()["type"] == "help"


def test_clients_may_come_over_tls(example):
    trust = ssl.create_default_context(cafile=example.directory / "state" / "cert.pem")
    with socket.create_connection(("127.0.0.1", example.tls_port)) as plain, \
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET /dev?name=ann HTTP/1.1\r\nHost: localhost\r\n"
                           b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                           b"Sec-WebSocket-Version: 13\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")


def test_the_handlers_are_what_one_would_deploy():
    """They know of no gateway but API Gateway, and of nothing that is only here."""
    for path in (EXAMPLE / "handlers").glob("*.mjs"):
        source = path.read_text()
        assert not re.search(r"switchboard|http://|localhost|127\.0\.0\.1|AWS_ENDPOINT", source,
                             re.IGNORECASE), path
    for name in ("default", "sendmessage"):
        assert "endpoint: `https://${domainName}/${stage}`" \
            in (EXAMPLE / "handlers" / f"{name}.mjs").read_text()


# ---- run-functions.mjs by itself: what Invoke answers ----

class Runner:
    def __init__(self, directory, sources, *arguments):
        handlers = directory / "handlers"
        handlers.mkdir()
        for name, source in sources.items():
            (handlers / name).write_text(source)
        self.process = subprocess.Popen(
            ["node", EXAMPLE / "run-functions.mjs", "--port", "0", "--timeout", "1", handlers,
             *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        assert "Functions" in line, line
        self.port = int(re.search(r":(\d+)/", line)[1])

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/2015-03-31/functions/{name}/invocations"

    def invoke(self, name, event, **headers):
        connection = harness.http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", f"/2015-03-31/functions/{name}/invocations", event, headers)
        response = connection.getresponse()
        answer = harness.Answer(response.status, response.getheaders(), response.read())
        connection.close()
        return answer

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


SOURCES = {
    "echo.mjs": "export const handler = async (event) => event;",
    "nothing.mjs": "export const handler = async () => {};",
    "boom.mjs": "export const handler = async () => { throw new TypeError('boom'); };",
    "text.mjs": "export const handler = async () => { throw 'Unauthorized'; };",
    "slow.mjs": "export const handler = () => new Promise(() => {});",
    "back.cjs": "exports.handler = (event, context, callback) => callback(null, event.n + 1);",
    "fail.cjs": "exports.handler = (e, c, callback) => callback(new Error('Unauthorized'));",
    "about.mjs": """export const handler = async (event, context) => ({
        left: context.getRemainingTimeInMillis(), id: context.awsRequestId,
        name: context.functionName, arn: context.invokedFunctionArn });""",
    "wait.mjs": """let running = 0;
        export const handler = async () => {
            running += 1;
            while (running < 3) await new Promise((resolve) => setTimeout(resolve, 5));
            return 'together';
        };""",
    "helper.mjs": "export const unrelated = 1;",
}


@pytest.fixture
def runner(tmp_path):
    runner = Runner(tmp_path, SOURCES)
    yield runner
    runner.stop()


def test_runner_answers_with_the_result(runner):
    answer = runner.invoke("echo", '{"a": [1, "\u00e4"]}'.encode())
    assert (answer.status, answer.json()) == (200, {"a": [1, "\u00e4"]})
    assert answer.header("x-amz-function-error") is None
    assert runner.invoke("nothing", "{}").body == b"null"
    assert runner.invoke("back", '{"n": 1}').json() == 2


@pytest.mark.parametrize("name, kind, message", [
    ("boom", "TypeError", "boom"), ("text", "string", "Unauthorized"),
    ("fail", "Error", "Unauthorized")])
def test_runner_says_that_a_function_failed(runner, name, kind, message):
    answer = runner.invoke(name, "{}")
    assert (answer.status, answer.header("x-amz-function-error")) == (200, "Unhandled")
    assert (answer.json()["errorType"], answer.json()["errorMessage"]) == (kind, message)


def test_runner_ends_a_function_that_takes_too_long(runner):
    answer = runner.invoke("slow", "{}")
    assert answer.header("x-amz-function-error") == "Unhandled"
    assert re.search(r"Task timed out after 1\.00 seconds$", answer.json()["errorMessage"])


def test_runner_gives_a_context(runner):
    about = runner.invoke("about", "{}").json()
    assert 0 < about["left"] <= 1000 and about["name"] == "about"
    assert about["arn"].endswith(":function:about") and len(about["id"]) == 36


def test_runner_runs_invocations_concurrently(runner):
    connections = [harness.http.client.HTTPConnection("127.0.0.1", runner.port, timeout=30)
                   for _ in range(3)]
    for connection in connections:
        connection.request("POST", "/2015-03-31/functions/wait/invocations", "{}")
    assert [connection.getresponse().read() for connection in connections] == [b'"together"'] * 3
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("name, event, status, kind", [
    ("unknown", "{}", 404, "ResourceNotFoundException"),
    ("helper", "{}", 404, "ResourceNotFoundException"),
    ("echo", "{", 400, "InvalidRequestContentException"),
    ("echo", 6 * 1024 * 1024 + 1, 413, "RequestTooLargeException")])
def test_runner_refuses_as_lambda_does(runner, name, event, status, kind):
    answer = runner.invoke(name, event if isinstance(event, str) else b"1" * event)
    assert (answer.status, answer.header("x-amzn-errortype")) == (status, kind)


def test_runner_does_not_wait_for_an_event_invocation(runner):
    answer = runner.invoke("slow", "{}", **{"X-Amz-Invocation-Type": "Event"})
    assert (answer.status, answer.body) == (202, b"")


def test_runner_sends_a_container_one_event_at_a_time(tmp_path):
    """The runtime interface emulator has one sandbox and no queue."""
    emulator = Functions()
    emulator["function"] = lambda event: event
    runner = Runner(tmp_path, {}, f"app={emulator.origin}")
    functions = Functions()
    try:
        api = describe(functions)
        api["integrations"]["app"]["url"] = runner.url("app")
        emulator["function"] = lambda event: {"statusCode": 200, "body": event.get("body")}
        api["routes"]["$default"] = {"integration": "app", "routeResponse": True}
        gateway = Gateway(api, tmp_path).start()
        try:
            client = gateway.connect(welcome=False)
            for number in range(20):
                client.send(str(number))
            assert sorted(int(client.recv()) for _ in range(20)) == list(range(20))
            assert emulator.most_running == 1
        finally:
            gateway.destroy()
    finally:
        runner.stop()
        functions.close()
        emulator.close()
