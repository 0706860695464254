"""A bucket of S3 for tests, in memory: GET, HEAD, PUT and DELETE with conditions, and lists. It checks every
signature by itself (AWS Signature Version 4, from its description), and misbehaves when told to."""
import calendar
import email.utils
import hashlib
import hmac
import http.server
import socket
import ssl
import threading
import time
import urllib.parse

from common import free_port

ID, SECRET, REGION, BUCKET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-test-1", \
    "states"
SKEW_S = 900


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, date, region, text):
    key = ("AWS4" + secret).encode()
    for part in (date, region, "s3", "aws4_request"):
        key = mac(key, part)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Refused(Exception):
    def __init__(self, status, code, more=""):
        Exception.__init__(self, code)
        self.status, self.code, self.more = status, code, more


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        http.server.BaseHTTPRequestHandler.setup(self)
        with self.server.stub.lock:
            self.server.stub.connections.add(self.connection)

    def finish(self):
        with self.server.stub.lock:
            self.server.stub.connections.discard(self.connection)
        http.server.BaseHTTPRequestHandler.finish(self)

    def log_message(self, *_):
        pass

    def check(self, body):
        """That whoever asks is who it says, and that nothing was changed on its way."""
        s = self.server.stub
        auth = self.headers.get("Authorization", "")
        if not auth.startswith("AWS4-HMAC-SHA256 "):
            raise Refused(403, "AccessDenied")
        part = dict(p.strip().split("=", 1) for p in auth[17:].split(","))
        who, date, region, service, last = part["Credential"].split("/")
        if who not in s.users:
            raise Refused(403, "InvalidAccessKeyId")
        secret, token = s.users[who]
        if region != s.region:
            raise Refused(400, "AuthorizationHeaderMalformed", "<Region>%s</Region>" % s.region)
        if self.headers.get("x-amz-security-token", "") != token:
            raise Refused(400, "InvalidToken")
        stamp = self.headers["x-amz-date"]
        told = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        if abs(told - (time.time() + s.clock)) > SKEW_S:
            raise Refused(403, "RequestTimeTooSkewed")
        names = part["SignedHeaders"].split(";")
        wanted = ["host", "x-amz-content-sha256", "x-amz-date"] + ["x-amz-security-token"] * \
            bool(token)
        if names != sorted(names) or not set(wanted) <= set(names) or service != "s3" or \
                last != "aws4_request" or date != stamp[:8]:
            raise Refused(403, "SignatureDoesNotMatch")
        path, _, query = self.path.partition("?")
        request = "\n".join([self.command, path, query] +
                            ["%s:%s" % (n, (self.headers[n] or "").strip()) for n in names] +
                            ["", ";".join(names), self.headers["x-amz-content-sha256"]])
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, "%s/%s/s3/aws4_request" % (date, region),
                          hashlib.sha256(request.encode()).hexdigest()])
        if signature(secret, date, region, text) != part["Signature"]:
            raise Refused(403, "SignatureDoesNotMatch")
        hashed = self.headers["x-amz-content-sha256"]
        if hashed != hashlib.sha256(body).hexdigest() and not (s.tls and hashed ==
                                                               "UNSIGNED-PAYLOAD"):
            raise Refused(400, "XAmzContentSHA256Mismatch")

    def key(self):
        s = self.server.stub
        path = self.path
        if s.in_host:
            if self.headers["Host"].split(":")[0] != "%s.localhost" % BUCKET:
                raise Refused(404, "NoSuchBucket")
            return path[1:]
        if not path.startswith("/%s/" % BUCKET):
            raise Refused(404, "NoSuchBucket")
        return path[len(BUCKET) + 2:]

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, r):
        self.answer(r.status, ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code>"
                               "<Message>no</Message>%s</Error>" % (r.code, r.more)).encode(),
                    [("Content-Type", "application/xml")])

    def names(self):
        """ListObjectsV2: two names a page, so that there are pages."""
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, strict_parsing=True)
        prefix, after = (asked.get(n, [""])[0] for n in ("prefix", "start-after"))
        if asked["list-type"] != ["2"]:
            raise Refused(501, "NotImplemented")
        s = self.server.stub
        with s.lock:
            all_ = sorted(k for k in s.objects if k.startswith(prefix) and k > after)
        between = asked.get("delimiter", [""])[0]
        if between:  # only where the names part: what the rest begins with, once each
            heads = sorted({k[:k.index(between, len(prefix)) + 1] for k in all_
                            if between in k[len(prefix):]})
            return self.answer(200, (
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3\">"
                "<IsTruncated>false</IsTruncated>%s</ListBucketResult>" % "".join(
                    "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % h
                    for h in heads)).encode(), [("Content-Type", "application/xml")])
        self.answer(200, (
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3\">"
            "<IsTruncated>%s</IsTruncated>%s</ListBucketResult>" % (
                "true" if len(all_) > s.page else "false", "".join(
                    "<Contents><Key>%s</Key><Size>1</Size></Contents>" % k
                    for k in all_[:s.page]))).encode(), [("Content-Type", "application/xml")])

    def condition(self, old):
        s = self.server.stub
        match, none = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if (match or none) and s.no_conditions:
            raise Refused(501, "NotImplemented")
        if (none and old) or (match and (not old or old[1] != match)):
            raise Refused(412, "PreconditionFailed")

    def one(self):
        s = self.server.stub
        n = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(n)
        with s.lock:
            s.asked.append((self.command, self.path))
            fault = s.fault
        if fault and fault(self, body):
            return
        try:
            self.check(body)
            if "?" in self.path and self.command == "GET":
                return self.names()
            key = self.key()
            with s.lock:
                old = s.objects.get(key)
                if self.command == "PUT":
                    self.condition(old)
                    tag = '"%s"' % hashlib.md5(body).hexdigest()
                    s.objects[key] = (body, tag, time.time())
                elif self.command == "DELETE":
                    s.objects.pop(key, None)
                elif not old:
                    raise Refused(404, "NoSuchKey")
        except Refused as r:
            return self.refuse(r)
        if self.command == "PUT":
            return self.answer(200, b"", [("ETag", tag)])
        if self.command == "DELETE":
            return self.answer(204)
        self.answer(200, old[0], [("ETag", old[1]),
                                  ("Last-Modified", email.utils.formatdate(old[2], usegmt=True))])

    do_GET = do_HEAD = do_PUT = do_DELETE = one


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # clients that leave in the middle are what some tests are about


class Stub:
    """users: id -> (secret, session token). fault: called with a request's handler and body; true:
    it has answered, in its own way."""

    def __init__(self, tls=None, in_host=False):
        self.lock = threading.Lock()
        self.page = 2
        self.in_host, self.region, self.clock, self.no_conditions = in_host, REGION, 0, False
        self.tls, self.port, self.server = tls, free_port(), None  # its own, when it starts again
        self.users, self.objects, self.asked, self.fault = {ID: (SECRET, "")}, {}, [], None
        self.connections = set()
        self.start()

    def start(self):
        self.server = Server(("127.0.0.1", self.port), Handler)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.server.stub = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None
        with self.lock:
            for c in self.connections:
                try:
                    c.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is gone already

    def endpoint(self):
        host = BUCKET + ".localhost" if self.in_host else "127.0.0.1"
        return "http%s://%s:%d" % ("s" if self.tls else "", host, self.port)

    def keys(self, kind=""):
        with self.lock:
            return [k for k in self.objects if k.startswith("cold/" + kind)]

    def place(self, key, body):
        with self.lock:
            self.objects[key] = (body, '"x"', time.time())

    def change(self, keys, how):
        """how: bytes -> bytes, or None, which removes it."""
        with self.lock:
            for k in keys:
                body = how(self.objects[k][0])
                if body is None:
                    del self.objects[k]
                else:
                    self.objects[k] = (body, '"x"', time.time())

    def count(self, method=None):
        with self.lock:
            return sum(method in (None, m) for m, _ in self.asked)
