# SPDX-License-Identifier: Apache-2.0
"""Events as AWS sends them, and a stand-in of @connections."""
import itertools
import json
import time
import urllib.parse

from functions import Endpoint, Raw
from harness import wait_for

_numbers = itertools.count(1)


def context_of(connection_id, kind, route_key, **more):
    now = int(time.time() * 1000)
    return {"routeKey": route_key, "eventType": kind, "extendedRequestId": f"x{next(_numbers)}=",
            "requestTime": "21/Nov/2026:06:47:50 +0000", "messageDirection": "IN", "stage": "dev",
            "connectedAt": now, "requestTimeEpoch": now,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "a client"},
            "requestId": f"r{next(_numbers)}=", "domainName": "abc1234567.execute-api.us-east-1"
            ".amazonaws.com", "connectionId": connection_id, "apiId": "abc1234567", **more}


def connect(connection_id="c1=", query=None, headers=None, authorizer=None):
    headers = {"Host": "abc1234567.execute-api.us-east-1.amazonaws.com",
               "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==", "Sec-WebSocket-Version": "13",
               "X-Forwarded-For": "203.0.113.7", **(headers or {})}
    event = {"headers": headers, "multiValueHeaders": {name: [value]
                                                       for name, value in headers.items()},
             "requestContext": context_of(connection_id, "CONNECT", "$connect",
                                          **({"authorizer": authorizer} if authorizer else {})),
             "isBase64Encoded": False}
    if query:
        event["queryStringParameters"] = query
        event["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
    return event


def message(body, connection_id="c1=", route_key="$default"):
    return {"requestContext": context_of(connection_id, "MESSAGE", route_key,
                                         messageId=f"m{next(_numbers)}="),
            "body": body if isinstance(body, str) else json.dumps(body), "isBase64Encoded": False}


def disconnect(connection_id="c1=", code=1001, reason=""):
    return {"headers": {"Host": "abc1234567.execute-api.us-east-1.amazonaws.com", "x-api-key": ""},
            "requestContext": context_of(connection_id, "DISCONNECT", "$disconnect",
                                         disconnectStatusCode=code, disconnectReason=reason),
            "isBase64Encoded": False}


def authorizer(connection_id="c1=", **more):
    event = connect(connection_id, **more)
    return {"type": "REQUEST", "methodArn": "arn:aws:execute-api:us-east-1:123456789012:abc1234567"
            "/dev/$connect", "headers": event["headers"],
            "queryStringParameters": event.get("queryStringParameters", {}), "stageVariables": {},
            "requestContext": event["requestContext"]}


def schedule():
    return {"version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
            "detail-type": "Scheduled Event", "source": "aws.events", "account": "123456789012",
            "time": "2026-11-21T06:00:00Z", "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:123456789012:rule/every-quarter"], "detail": {}}


def queue(*bodies):
    return {"Records": [{"messageId": f"q{number}", "receiptHandle": "h",
                         "body": body if isinstance(body, str) else json.dumps(body),
                         "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs",
                         "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:q",
                         "awsRegion": "us-east-1"} for number, body in enumerate(bodies)]}


def topic(body):
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0",
                         "Sns": {"MessageId": "s1", "Message": json.dumps(body),
                                 "TopicArn": "arn:aws:sns:us-east-1:123456789012:t"}}]}


def bus(detail):
    return {"version": "0", "id": "1", "detail-type": "OrderShipped", "source": "shop",
            "detail": detail}


class Connections(Endpoint):
    """@connections; answers is what it says next, instead of 200 (204 to DELETE)."""

    def __init__(self):
        super().__init__()
        self.answers = []

    @property
    def endpoint(self):
        return f"{self.origin}/dev"

    def answer(self, request):
        with self._lock:
            self.requests.append(request)
            if self.answers:
                return self.answers.pop(0)
        return Raw(204 if request.method == "DELETE" else 200)

    def bodies(self, connection_id="c1="):
        path = "/dev/@connections/" + urllib.parse.quote(connection_id, safe="")
        with self._lock:
            return [request.body.decode() for request in self.requests
                    if request.method == "POST" and request.target == path]

    def wait(self, connection_id="c1=", count=1):
        def enough():
            bodies = self.bodies(connection_id)
            return bodies if len(bodies) >= count else None
        return wait_for(enough, f"{count} messages for {connection_id}; there are {self.requests}")
