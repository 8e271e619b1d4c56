# SPDX-License-Identifier: Apache-2.0
"""AWS Lambda on this machine: functions whose sandboxes are real `bootstrap` processes.

A sandbox has a Runtime API of its own, as on AWS, and one invocation at a time; while it waits for
the next one it is stopped (SIGSTOP), because there nothing runs between two invocations.  A function
starts another sandbox when all are busy.  The service speaks the Invoke call of Lambda.

What a Runtime API may do wrong, and how its answers may look on the wire, is told for each invocation
(Shape, posts=...) or for the next GET (faults).
"""
import http.client
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import uuid

from functions import INVOKE, Endpoint, Raw
from harness import BINARY, SANITIZER, SECONDS, wait_for

RUNTIME = "/2018-06-01/runtime"
EXTENSION = "/2020-01-01/extension"
MAX_RESPONSE = 6 * 1024 * 1024 + 100
ARN = "arn:aws:lambda:us-east-1:123456789012:function:"
ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")
ACCEPTED = Raw(202, '{"status":"OK"}', [("Content-Type", "application/json")])


class Shape:
    """How an event is put on the wire."""

    def __init__(self, lower_case=False, chunked=False, pieces=1, pause=0.0, invocation_id=True,
                 without=(), headers=()):
        self.lower_case = lower_case
        self.chunked = chunked
        self.pieces = pieces  # the bytes come in so many writes
        self.pause = pause    # between two of them
        self.invocation_id = invocation_id
        self.without = without  # names of headers that are left out
        self.headers = list(headers)


class Half(Raw):
    """An answer that breaks off in its middle."""


def refusal(status, kind, message):
    """As Lambda words it."""
    return Raw(status, json.dumps({"errorMessage": message, "errorType": kind}),
               [("Content-Type", "application/json")])


class Request:
    def __init__(self, method, path, headers, body):
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[-1] if values else None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.method} {self.path} {self.headers} {self.body[:300]!r}>"


def read_request(stream):
    line = stream.readline()
    if not line:
        return None
    method, path, version = line.decode().split()
    assert version == "HTTP/1.1", line
    fields = http.client.parse_headers(stream)
    assert "chunked" not in (fields.get("Transfer-Encoding") or ""), "Lambda wants a length"
    assert "Expect" not in fields, "and no Expect"
    body = stream.read(int(fields.get("Content-Length") or 0))
    return Request(method, path, fields.items(), body)


class Invocation:
    """One event on its way; outcome: ("response" | "error", body), ("exit", text), ("timeout", text)
    or ("init", body)."""

    def __init__(self, event, function, shape=None, posts=()):
        self.event = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.function = function
        self.shape = shape or function.shape
        self.answers = list(posts)  # to /response and /error, instead of what is right
        self.request_id = str(uuid.uuid4())
        self.invocation_id = str(uuid.uuid4())
        self.trace_id = f"Root=1-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex[:24]};Sampled=0"
        self.deadline_ms = None
        self.deliveries = 0  # how often /next has answered with it
        self.posts = []
        self.sandbox = None
        self.outcome = None
        self.is_over = False  # the runtime has asked for the next one, or is no more

    def finish(self, kind, value):
        if self.outcome is None:
            self.outcome = kind, value

    def headers(self):
        found = {
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(self.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": ARN + self.function.name,
            "Lambda-Runtime-Trace-Id": self.trace_id,
        }
        if self.shape.invocation_id:
            found["Lambda-Runtime-Invocation-Id"] = self.invocation_id
        return [(name, value) for name, value in found.items()
                if name not in self.shape.without] + self.shape.headers


class Result:
    """What Lambda's Invoke call says."""

    def __init__(self, payload, function_error=None):
        self.payload = payload
        self.function_error = function_error

    def json(self):
        return json.loads(self.payload)

    def __repr__(self):
        return f"<{self.function_error or 'ok'} {self.payload[:500]!r}>"


class Sandbox:
    """One process and the Runtime API that it talks to."""

    def __init__(self, function, number):
        self.function = function
        self.condition = function.condition
        self.number = number
        self.directory = function.directory / f"sandbox-{number}"
        self.directory.mkdir()
        self.log_path = self.directory / "log"
        self.requests = []
        self.connections = 0  # that it has opened to the Runtime API
        self.is_idle = False  # it waits in GET next, and so do its extensions
        self.is_dead = False
        self.is_frozen = False
        self.is_ending = False
        self.waits = False
        self.current = None
        self.init_error = None
        self.extensions = {}  # identifier -> whether it waits for its events
        self.began = time.monotonic()
        self.init_seconds = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()
        self._start()

    # -- the process --

    def _start(self):
        path = self.directory / "bootstrap"
        os.symlink(os.path.abspath(BINARY), path)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC",
            "LAMBDA_TASK_ROOT": str(self.directory), "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "_HANDLER": "bootstrap", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": self.function.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"2026/11/21/[$LATEST]{uuid.uuid4().hex}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % self._listener.getsockname()[1],
            "ASAN_OPTIONS": "detect_leaks=1:exitcode=99",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
            **self.function.environment,
        }
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(path)], env=environment, cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        status = self.process.wait()
        text = f"signal: {-status}" if status < 0 else f"exit status {status}"
        with self.condition:
            self.is_dead = True
            self.is_idle = False
            if self.current:
                if self.init_error is not None:
                    self.current.finish("init", self.init_error)
                self.current.finish("exit", "RequestId: %s Error: Runtime exited with error: %s"
                                    % (self.current.request_id, text))
                self.current.is_over = True
            self.condition.notify_all()
        self._listener.close()

    def _signal(self, number):
        if not self.is_dead:
            os.kill(self.process.pid, number)

    def freeze(self):
        """As Lambda does it, and so that it is certain: the process is stopped afterwards."""
        self._signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self):
        if self.is_frozen:
            self._signal(signal.SIGCONT)
            self.is_frozen = False

    def kill(self):
        """It is gone, without a word, at whatever it is."""
        with self.condition:
            self._signal(signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: self.is_dead, "its end was noticed")

    def begin_end(self):
        """As Lambda does when it needs the room: with a word only if there is an extension."""
        with self.condition:
            self.is_ending = True
            self.thaw()
            self._signal(signal.SIGTERM if self.extensions else signal.SIGKILL)

    def shut_down(self, seconds=SECONDS):
        if not self.is_ending:
            self.begin_end()
        has_extension = bool(self.extensions)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"SIGTERM does not end it:\n{self.log()[-4000:]}")
        assert status in ((0,) if has_extension else (0, 1, -signal.SIGKILL)), \
            f"it ended with {status}:\n{self.log()[-4000:]}"

    def log(self):
        return self.log_path.read_text(errors="replace")

    # -- its Runtime API --

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                while self._answer(connection, stream):
                    pass
            except OSError:
                pass  # the process is gone

    def _answer(self, connection, stream):
        request = read_request(stream)
        if request is None:
            return False
        with self.condition:
            self.requests.append(request)
        route = request.method, request.path
        if route == ("GET", f"{RUNTIME}/invocation/next"):
            return self._next(connection)
        if route == ("GET", f"{EXTENSION}/event/next"):
            return self._extension_waits(request)
        answer = self._post(request) if request.method == "POST" else Raw(404)
        if answer.status is not None:
            send(connection, answer)
        return answer.status is not None

    def _next(self, connection):
        with self.condition:
            if self.init_seconds is None:
                self.init_seconds = time.monotonic() - self.began
            if self.current and not self.current.posts and self.current.deliveries:
                invocation = self.current  # it was not answered: the same again
            else:
                invocation = self._wait_for_event()
            fault = self.function.faults.pop(0) if self.function.faults else None
            if invocation is None:
                return False
            self.waits = False
            invocation.deliveries += 1
            self.thaw()
        if fault is None:
            send(connection, Raw(200, invocation.event, invocation.headers()), invocation.shape)
            return True
        if fault.status is not None:
            send(connection, fault)
        return fault.status is not None and not isinstance(fault, Half)

    def _wait_for_event(self):
        """The next invocation; None when there will be none.  With the lock."""
        if self.current:
            self.current.is_over = True
            self.current = None
        self.waits = True
        self._look_idle()
        while not self.current and not self.is_dead:  # nothing is closed before it has ended
            self.condition.wait()
        return self.current

    def _look_idle(self):
        self.is_idle = self.waits and all(self.extensions.values())
        if self.is_idle and self.function.freezes and not self.is_ending:
            self.freeze()
        self.condition.notify_all()

    def _extension_waits(self, request):
        with self.condition:
            identifier = request.header("Lambda-Extension-Identifier")
            assert identifier in self.extensions, request
            self.extensions[identifier] = True
            if self.waits:
                self._look_idle()
            while not self.is_dead:
                self.condition.wait()
        return False

    def _post(self, request):
        with self.condition:
            if request.path == f"{EXTENSION}/register":
                return self._register(request)
            if request.path == f"{RUNTIME}/init/error":
                self.init_error = request.body
                return ACCEPTED
            _, _, tail = request.path.partition(f"{RUNTIME}/invocation/")
            request_id, _, what = tail.partition("/")
            if what not in ("response", "error"):
                return Raw(404)
            answer = self._take(request, request_id, what)
            self.condition.notify_all()
            return answer

    def _register(self, request):
        assert request.header("Lambda-Extension-Name") and request.json() == {"events": []}, request
        identifier = str(uuid.uuid4())
        self.extensions[identifier] = False
        return Raw(200, json.dumps({"functionName": self.function.name,
                                    "functionVersion": "$LATEST", "handler": "bootstrap"}),
                   [("Lambda-Extension-Identifier", identifier)])

    def _take(self, request, request_id, what):
        invocation = self.current
        if invocation is None or request_id != invocation.request_id:
            return refusal(400, "InvalidRequestID", "Invalid request ID")
        invocation.posts.append(request)
        if invocation.answers:
            answer = invocation.answers.pop(0)
            invocation.finish("error", json.dumps({"errorType": "Refused", "status": answer.status}))
            return answer
        if invocation.shape.invocation_id and \
                request.header("Lambda-Runtime-Invocation-Id") != invocation.invocation_id:
            return refusal(410, "InvocationGone", "The invocation has ended")
        if len(invocation.posts) > 1:
            return refusal(403, "InvalidStateTransition",
                           "State transition from RuntimeResponseSentState to InvocationResponse"
                           " failed for runtime. Error: State transition is not allowed")
        if len(request.body) > MAX_RESPONSE:
            text = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
            invocation.finish("error", json.dumps({"errorMessage": text,
                                                   "errorType": "Function.ResponseSizeTooLarge"}))
            return refusal(413, "RequestEntityTooLarge", text)
        invocation.finish(what, request.body)
        return ACCEPTED


def send(connection, answer, shape=Shape()):
    """An answer on the wire, as the shape wants it."""
    headers = [("Content-Type", "application/json"), *answer.headers]
    headers.append(("Transfer-Encoding", "chunked") if shape.chunked
                   else ("Content-Length", str(len(answer.body))))
    if shape.lower_case:
        headers = [(name.lower(), value) for name, value in headers]
    head = f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Unknown')}\r\n"
    data = (head + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n").encode()
    data += b"".join(chunks(answer.body)) if shape.chunked else answer.body
    if isinstance(answer, Half):
        data = data[:-(len(answer.body) // 2)]
    size = -(-len(data) // shape.pieces)
    for start in range(0, len(data), size):
        if start and shape.pause:
            time.sleep(shape.pause)
        connection.sendall(data[start:start + size])


def chunks(body, size=1000):
    for start in range(0, len(body), size):
        part = body[start:start + size]
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


class Function:
    """A function by name.  invoke() is one synchronous invocation."""

    def __init__(self, directory, environment, name="app", sandboxes=6, timeout=SECONDS,
                 freezes=True):
        self.name = name
        self.directory = directory
        self.environment = {key: str(value) for key, value in environment.items()}
        self.most = sandboxes
        self.timeout = timeout
        self.freezes = freezes
        self.shape = Shape()
        self.faults = []        # answers to GET next instead of an event
        self.answer_delay = 0.0  # from the runtime's answer until the caller has it
        self.condition = threading.Condition()
        self.sandboxes = []
        self.invocations = []
        self.retries = 0  # of asynchronous invocations
        self._numbers = itertools.count(1)
        self._threads = []
        self._is_closed = False

    # -- sandboxes --

    def start_sandbox(self):
        """One more, without an invocation; as provisioned concurrency does."""
        with self.condition:
            self.sandboxes.append(Sandbox(self, next(self._numbers)))
            return self.sandboxes[-1]

    def alive(self):
        return [sandbox for sandbox in self.sandboxes if not sandbox.is_dead]

    def wait_idle(self, seconds=SECONDS):
        """All sandboxes have done everything they wanted to; returns those that live."""
        wait_for(lambda: all(sandbox.is_idle for sandbox in self.alive()),
                 f"every sandbox waits for an event:\n{self.log()[-4000:]}", seconds)
        return self.alive()

    def _take_sandbox(self, invocation):
        """With the lock.  As Lambda: one that is idle, or else another one."""
        deadline = time.monotonic() + SECONDS
        is_started = False
        while True:
            for sandbox in self.sandboxes:
                if sandbox.is_idle and not sandbox.is_dead:
                    return sandbox
            if not is_started and len(self.alive()) < self.most:
                is_started = True
                self.sandboxes.append(Sandbox(self, next(self._numbers)))
            self.condition.wait(0.2)
            newest = self.sandboxes[-1]
            if is_started and newest.is_dead:
                if newest.init_error is not None:
                    invocation.finish("init", newest.init_error)
                invocation.finish("exit", "RequestId: %s Error: Runtime exited with error: exit"
                                  " status %s" % (invocation.request_id, newest.process.returncode))
                return None
            assert time.monotonic() < deadline, f"no sandbox is free:\n{self.log()[-6000:]}"

    # -- invocations --

    def invoke(self, event, **options):
        return self.run(event, **options)[0]

    def run(self, event, **options):
        """The result and the invocation."""
        invocation = self.begin(event, **options)
        return self.finish(invocation), invocation

    def begin(self, event, shape=None, posts=(), timeout=None):
        """Hands the event to a sandbox."""
        invocation = Invocation(event, self, shape, posts)
        with self.condition:
            self.invocations.append(invocation)
            sandbox = self._take_sandbox(invocation)
            invocation.deadline_ms = int((time.time() + (timeout or self.timeout)) * 1000)
            if sandbox:
                sandbox.is_idle = False
                sandbox.current = invocation
                invocation.sandbox = sandbox
                self.condition.notify_all()
        return invocation

    def finish(self, invocation):
        """Waits for the answer; the result."""
        with self.condition:
            while invocation.outcome is None:
                left = invocation.deadline_ms / 1000 - time.time()
                if left <= 0:
                    self._time_out(invocation)
                self.condition.wait(max(left, 0.001))
        if self.answer_delay:
            time.sleep(self.answer_delay)
        return result_of(invocation)

    def _time_out(self, invocation):
        text = "%s Task timed out after %.2f seconds" % (invocation.request_id, self.timeout)
        invocation.finish("timeout", text)
        invocation.sandbox._signal(signal.SIGKILL)

    def invoke_async(self, event):
        """As EventBridge and InvocationType Event do: twice more when it fails."""
        def run():
            for attempt in range(3):
                if self._is_closed or not self.invoke(event).function_error:
                    return
                self.retries += attempt < 2
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    # -- life --

    def log(self):
        return "".join(sandbox.log() for sandbox in list(self.sandboxes))

    def close(self):
        """Every sandbox is shut down, and has to end well."""
        self._is_closed = True
        failures = []
        living = self.alive()
        for sandbox in living:
            sandbox.begin_end()
        for sandbox in living:
            try:
                sandbox.shut_down()
            except AssertionError as failure:
                failures.append(str(failure))
        for thread in self._threads:
            thread.join(SECONDS)
        log = self.log()
        found = SANITIZER.search(log)
        if found:
            failures.append(log[max(0, found.start() - 2000):found.start() + 6000])
        assert not failures, "\n".join(failures)


def result_of(invocation):
    kind, value = invocation.outcome
    if kind == "response":
        return Result(value)
    if kind in ("error", "init"):
        return Result(value if isinstance(value, bytes) else value.encode(), "Unhandled")
    body = {"errorMessage": value}
    body["errorType"] = "Runtime.ExitError" if kind == "exit" else "Sandbox.Timedout"
    return Result(json.dumps(body).encode(), "Unhandled")


class Lambda(Endpoint):
    """Lambda's Invoke call for functions by name."""

    def __init__(self):
        super().__init__()
        self.functions = {}

    def add(self, function):
        self.functions[function.name] = function
        return function

    def url(self, name):
        return f"{self.origin}{INVOKE}{urllib.parse.quote(name)}/invocations"

    def answer(self, request):
        parts = request.path.split("/")
        name = urllib.parse.unquote(parts[3]) if request.path.startswith(INVOKE) else ""
        function = self.functions.get(name)
        if request.method != "POST" or not function:
            return Raw(404, '{"Message":"Function not found"}',
                       [("x-amzn-ErrorType", "ResourceNotFoundException")])
        if request.header("X-Amz-Invocation-Type") == "Event":
            function.invoke_async(request.body)
            return Raw(202)
        result = function.invoke(request.body)
        headers = [("Content-Type", "application/json"), ("X-Amz-Executed-Version", "$LATEST"),
                   ("x-amzn-RequestId", str(uuid.uuid4()))]
        if result.function_error:
            headers.append(("X-Amz-Function-Error", result.function_error))
        return Raw(200, result.payload, headers)

    def close(self):
        try:
            super().close()
        finally:
            failures = []
            for function in self.functions.values():
                try:
                    function.close()
                except AssertionError as failure:
                    failures.append(str(failure))
            assert not failures, "\n".join(failures)


def show(environment):
    """For somebody who wants to run a sandbox by hand."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
