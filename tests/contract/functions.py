# SPDX-License-Identifier: Apache-2.0
"""What a gateway calls: functions behind Lambda's Invoke call, and plain HTTP backends.

Both are threaded HTTP/1.1 servers with keep-alive on a free port that record what they are sent.
"""
import http.server
import json
import threading
import traceback
import urllib.parse
import uuid

from harness import SECONDS, wait_for

INVOKE = "/2015-03-31/functions/"


class FunctionError(Exception):
    """Raised in a function: its message and type are those of the function's error."""

    def __init__(self, message, kind="Error"):
        super().__init__(message)
        self.kind = kind


class Raw:
    """An HTTP answer as it stands; status None: the connection is closed without one."""

    def __init__(self, status, body=b"", headers=()):
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = list(headers)


# What Invoke says when a function has no concurrency left.
THROTTLED = Raw(429, '{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User",'
                '"message":"Rate Exceeded."}', [("x-amzn-ErrorType", "TooManyRequestsException")])


class Request:
    """One HTTP request, as it came."""

    def __init__(self, handler, body):
        self.method = handler.command
        self.target = handler.path
        parts = urllib.parse.urlsplit(handler.path)
        self.path = parts.path
        self.query = parts.query
        self.headers = handler.headers.items()
        self.body = body
        self.peer = handler.client_address

    def header(self, name):
        values = self.all(name)
        return values[-1] if values else None

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __repr__(self):
        return f"<{self.method} {self.target} {self.headers} {self.body!r}>"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # the gateway did not wait any longer

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.endpoint.answer(Request(self, body))
        if answer.status is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def log_message(self, *_):
        pass


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Endpoint:
    """The server; a subclass answers."""

    def __init__(self):
        self.requests = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._server = Listener(("127.0.0.1", 0), Handler)
        self._server.endpoint = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        daemon=True)
        self._thread.start()

    @property
    def origin(self):
        return "http://127.0.0.1:%d" % self._server.server_address[1]

    def hold(self, result=None):
        """A function that answers when it is released, at the latest at the end of the test."""
        return Hold(self._stop, result)

    def release(self):
        self._stop.set()

    def close(self):
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Hold:
    def __init__(self, stop, result):
        self._stop = stop
        self._result = result
        self._released = threading.Event()

    def release(self):
        self._released.set()

    def __call__(self, _):
        while not self._released.wait(0.01) and not self._stop.is_set():
            pass
        return self._result


class Functions(Endpoint):
    """functions["name"] = callable(event): its result is the function's, what it raises its error.

    A function that was never given one answers {"statusCode": 200}.
    """

    def __init__(self):
        super().__init__()
        self._functions = {}
        self._events = []  # (name, event), in the order in which they came
        self._running = 0
        self.most_running = 0

    def __setitem__(self, name, function):
        self._functions[name] = function

    def url(self, name):
        return f"{self.origin}{INVOKE}{name}/invocations"

    def events(self, kind=None, name=None):
        with self._lock:
            return [event for function, event in self._events
                    if (name is None or function == name)
                    and (kind is None or event["requestContext"]["eventType"] == kind)]

    def wait(self, kind, count=1, name=None):
        """The events of a kind, as soon as there are so many."""
        def enough():
            events = self.events(kind, name)
            return events if len(events) >= count else None
        return wait_for(enough, f"{count} {kind} events; there are {self.events()}")

    def wait_one(self, kind, name=None):
        events = self.wait(kind, 1, name)
        assert len(events) == 1, events
        return events[0]

    def answer(self, request):
        parts = request.path.split("/")
        if not request.path.startswith(INVOKE) or request.method != "POST":
            return Raw(404, '{"Message":"not found"}')
        name, event = urllib.parse.unquote(parts[3]), json.loads(request.body)
        with self._lock:
            self.requests.append(request)
            self._events.append((name, event))
            self._running += 1
            self.most_running = max(self.most_running, self._running)
        try:
            return self._run(self._functions.get(name, lambda _: {"statusCode": 200}), event)
        finally:
            with self._lock:
                self._running -= 1

    @staticmethod
    def _run(function, event):
        headers = [("Content-Type", "application/json"), ("X-Amz-Executed-Version", "$LATEST"),
                   ("x-amzn-RequestId", str(uuid.uuid4()))]
        try:
            result = function(event)
        except Exception as error:  # whatever a function raises is its answer
            kind = error.kind if isinstance(error, FunctionError) else type(error).__name__
            result = {"errorMessage": str(error), "errorType": kind,
                      "trace": traceback.format_exception(error)}
            headers.append(("X-Amz-Function-Error", "Unhandled"))
        if isinstance(result, Raw):
            return result
        return Raw(200, json.dumps(result), headers)


class Backend(Endpoint):
    """A plain HTTP server; backend.respond(request) is its answer: a Raw."""

    def __init__(self):
        super().__init__()
        self.respond = lambda request: Raw(200)

    def answer(self, request):
        with self._lock:
            self.requests.append(request)
        return self.respond(request)

    def wait(self, count=1):
        """Its requests, as soon as there are so many."""
        def enough():
            return list(self.requests) if len(self.requests) >= count else None
        return wait_for(enough, f"{count} requests; there are {self.requests}", SECONDS)

    def wait_one(self):
        requests = self.wait()
        assert len(requests) == 1, requests
        return requests[0]
