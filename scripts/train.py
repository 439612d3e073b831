"""train.py WEIR LEDGER: a load of many kinds for a build that counts (dist.sh). Not a measurement: only how often lines run matters.

Kinds: short and long heads, bodies both ways (counted, chunked, large), our own answers, edits of fields, retries of answers that failed, all
policies on and none, HTTP/2 and gRPC to either protocol behind, TLS; on kept and on new connections.
"""
import http.client, os, signal, socket, ssl, subprocess, sys, tempfile, threading

weir, ledger = map(os.path.abspath, sys.argv[1:3])
work = tempfile.mkdtemp()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


MESH = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: training }}
spec:
  servers:
  - bind: 127.0.0.1
    port: {{ number: {http}, name: http, protocol: HTTP }}
    hosts: ["*"]
  - bind: 127.0.0.1
    port: {{ number: {h2c}, name: http2, protocol: HTTP2 }}
    hosts: ["*"]
  - bind: 127.0.0.1
    port: {{ number: {tls}, name: https, protocol: HTTPS }}
    hosts: ["*"]
    tls: {{ mode: SIMPLE, credentialName: edge }}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: echo }}
spec:
  hosts: [echo.test]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ http: {echo} }} }}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: plain }}
spec:
  hosts: [plain.test]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ http: {plain} }} }}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: full }}
spec:
  hosts: [full.test]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ http: {plain} }} }}, {{ address: 127.0.0.1, ports: {{ http: {other} }} }}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: framed }}
spec:
  hosts: [framed.test]
  resolution: STATIC
  ports: [{{ number: 80, name: grpc, protocol: GRPC }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ grpc: {framed} }} }}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: plain }}
spec:
  hosts: [plain.test]
  gateways: [training]
  http: [{{ route: [{{ destination: {{ host: plain.test }} }}] }}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: framed }}
spec:
  hosts: [framed.test]
  gateways: [training]
  http: [{{ route: [{{ destination: {{ host: framed.test }} }}] }}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: full }}
spec:
  hosts: [full.test]
  gateways: [training]
  http:
  - match: [{{ uri: {{ exact: /moved }} }}]
    redirect: {{ uri: /elsewhere }}
  - match: [{{ uri: {{ exact: /said }} }}]
    directResponse: {{ status: 200, body: {{ string: said }} }}
  - match: [{{ uri: {{ prefix: /edited/ }}, headers: {{ x-kind: {{ exact: edited }} }} }}]
    rewrite: {{ uri: / }}
    headers: {{ request: {{ set: {{ x-set: one }}, remove: [x-gone] }}, response: {{ add: {{ x-added: two }} }} }}
    route: [{{ destination: {{ host: echo.test }} }}]
  - match: [{{ method: {{ exact: POST }} }}, {{ uri: {{ exact: /chunks }} }}, {{ uri: {{ exact: /fails }} }}]
    retries: {{ attempts: 2, retryOn: "5xx,reset,connect-failure", backoff: 1ms }}
    route: [{{ destination: {{ host: echo.test }} }}]
  - fault:
      delay: {{ fixedDelay: 1s, percentage: {{ value: 0 }} }}
      abort: {{ httpStatus: 503, percentage: {{ value: 0 }} }}
    timeout: 10s
    retries: {{ attempts: 2, perTryTimeout: 5s, retryOn: "5xx,reset,connect-failure" }}
    route: [{{ destination: {{ host: full.test }} }}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: full }}
spec:
  host: full.test
  trafficPolicy:
    loadBalancer: {{ simple: LEAST_REQUEST }}
    connectionPool: {{ tcp: {{ maxConnections: 1000, connectTimeout: 1s }}, http: {{ http2MaxRequests: 1000, maxRetries: 50 }} }}
    outlierDetection: {{ consecutive5xxErrors: 100, interval: 10s, baseEjectionTime: 1s }}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{ name: limit }}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{ context: GATEWAY, listener: {{ filterChain: {{ filter: {{ name: envoy.filters.network.http_connection_manager }} }} }} }}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: training
          token_bucket: {{ max_tokens: 10000000, tokens_per_fill: 10000000, fill_interval: 1s }}
          filter_enabled: {{ default_value: {{ numerator: 100 }} }}
          filter_enforced: {{ default_value: {{ numerator: 100 }} }}
"""


def serve(connection):
    """A backend for what ledger's does not answer: bodies, echoed; /fails every other time."""
    stream, fails = connection.makefile("rb"), False
    while line := stream.readline():
        path, length, chunked = line.split(b" ")[1], 0, False
        while (field := stream.readline().strip().lower()):
            if field.startswith(b"content-length:"): length = int(field.split(b":")[1])
            chunked |= field == b"transfer-encoding: chunked"
        body = stream.read(length)
        while chunked:
            size = int(stream.readline(), 16)
            body += stream.read(size)
            stream.readline()
            chunked = size > 0
        fails = path == b"/fails" and not fails
        status = b"503 Unavailable" if fails else b"200 OK"
        fields = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: training\r\ncontent-type: text/plain\r\n"
        if path == b"/chunks":
            for_body = b"transfer-encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:500] or b"-", b"end")) + b"0\r\n\r\n"
        else:
            body = body or b"x" * 1024
            for_body = b"content-length: %d\r\n\r\n" % len(body) + body
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n" + fields + for_body)


def listen():
    server = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept():
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


LONG = {f"x-field-{n}": f"value {n} of a long head" for n in range(20)}
KINDS = [  # host, method, path, fields, body
    *[("plain.test", "GET", "/", {}, None)] * 8,
    *[("full.test", "GET", "/", {}, None)] * 8,
    *[("plain.test", "GET", "/page?of=12", LONG, None)] * 4,
    *[("full.test", "GET", "/page?of=12", LONG, None)] * 4,
    ("full.test", "POST", "/", {"content-type": "text/plain"}, b"y" * 2000),
    ("full.test", "POST", "/chunks", {}, [b"z" * 100, b"z" * 400]),
    ("full.test", "POST", "/", {}, b"w" * 200_000),
    ("full.test", "GET", "/chunks", {}, None),
    ("full.test", "GET", "/fails", {}, None),
    ("full.test", "HEAD", "/", {}, None),
    ("full.test", "GET", "/moved", {}, None),
    ("full.test", "GET", "/said", {}, None),
    ("full.test", "GET", "/edited/away", {"x-kind": "edited", "x-gone": "yes"}, None),
    ("nobody.test", "GET", "/", {}, None),
]


def client(port, rounds, tls=None):
    connection = None
    for turn in range(rounds):
        if turn % 25 == 0 or connection is None:
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls) if tls else http.client.HTTPConnection("127.0.0.1", port)
        for host, method, path, fields, body in KINDS:
            connection.request(method, path, body=body, headers={"host": host, **fields}, encode_chunked=isinstance(body, list))
            answer = connection.getresponse()
            answer.read()
            if answer.getheader("connection") == "close":
                connection = http.client.HTTPConnection("127.0.0.1", port) if tls is None else http.client.HTTPSConnection("127.0.0.1", port, context=tls)


def spread(*args):
    threads = [threading.Thread(target=client, args=args) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()


subprocess.run([weir, "ca", "init", f"{work}/ca"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([weir, "ca", "issue", "--ca", f"{work}/ca", "--service-account", "edge", "--dns", "localhost", "--out", f"{work}/secrets/edge"],
               check=True, stdout=subprocess.DEVNULL)
backends = [subprocess.Popen([ledger, "serve", *kind], stdout=subprocess.PIPE, text=True) for kind in ([], [], ["framed"])]
plain, other, framed = [int(backend.stdout.readline()) for backend in backends]
ports = {"http": free_port(), "h2c": free_port(), "tls": free_port()}
admin = free_port()
with open(f"{work}/mesh.yaml", "w") as f:
    f.write(MESH.format(echo=listen(), plain=plain, other=other, framed=framed, **ports))
running = subprocess.Popen([weir, "run", "-f", f"{work}/mesh.yaml", "--secrets", f"{work}/secrets", "--outbound", "off", "--admin", f"127.0.0.1:{admin}",
                            "--workers", "1", "--access-log", "off"])
try:
    for _ in range(600):
        try:
            ready = http.client.HTTPConnection("127.0.0.1", admin, timeout=1)
            ready.request("GET", "/ready")
            if ready.getresponse().status == 200: break
        except OSError:
            pass
        if running.poll() is not None: sys.exit("weir did not start")
        threading.Event().wait(0.1)
    else:
        sys.exit("weir was not ready within a minute")
    spread(ports["http"], 250)
    tls = ssl.create_default_context(cafile=f"{work}/ca/ca.crt")
    tls.check_hostname = False
    spread(ports["tls"], 25, tls)
    for kind, to, host, count in (([], "http", "plain.test", 60_000), ([], "http", "full.test", 60_000), (["http2"], "h2c", "full.test", 20_000),
                                  (["http2"], "h2c", "framed.test", 20_000), (["grpc"], "h2c", "framed.test", 20_000)):
        done = subprocess.run([ledger, "send", *kind, f"127.0.0.1:{ports[to]}", host, str(count)], capture_output=True, text=True)
        print(host, *kind, done.stdout.splitlines()[0] if done.stdout else done.stderr)
finally:
    # The counts are written at an orderly end.
    running.send_signal(signal.SIGTERM)
    ended = running.wait(timeout=60)
    for backend in backends: backend.kill()
if ended != 0: sys.exit(f"weir ended with {ended}")
