#!/usr/bin/env python3
"""gRPC calls of grpcio's client to grpcio's server, directly and through weir: both must see the same.

  python3 conformance/grpc_calls.py --weir target/release/weir [--messages 1000000 --direct]

Needs grpcio and grpcio-health-checking.
"""
import argparse
import pathlib
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LARGE = 4 * 1024 * 1024
CHANNEL = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20), ("grpc.enable_http_proxy", 0)]


# ---- the server: bytes in, bytes out

def unary(request, context):
    given = dict(context.invocation_metadata())
    if "x-echo-bin" in given:
        context.send_initial_metadata((("x-first", given.get("x-echo", "")), ("x-first-bin", given["x-echo-bin"])))
        context.set_trailing_metadata((("x-last-bin", given["x-echo-bin"]), ("x-peer-deadline", "yes" if context.time_remaining() else "no")))
    if request == b"fail":
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x03\x12\x03why"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: \u00e4 % and\nmore")
    if request == b"sleep":
        time.sleep(3)
    if request == b"remaining":
        return str(round(context.time_remaining(), 3)).encode()
    return request[::-1]


def server_streaming(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def client_streaming(requests, context):
    total = count = 0
    for request in requests:
        total, count = total + len(request), count + 1
    return b"%d %d" % (count, total)


class Echo:
    cancelled = threading.Event()

    def bidi(self, requests, context):
        context.add_callback(lambda: context.is_active() or None)
        for request in requests:
            if request == b"hold":
                context.add_callback(self.cancelled.set)
                yield b"held"
                while context.is_active():
                    time.sleep(0.01)
                return
            yield request


def serve(port=0):
    server = grpc.server(futures.ThreadPoolExecutor(32), options=CHANNEL)
    echo = Echo()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Server": grpc.unary_stream_rpc_method_handler(server_streaming),
        "Client": grpc.stream_unary_rpc_method_handler(client_streaming),
        "Bidi": grpc.stream_stream_rpc_method_handler(echo.bidi),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    checks.set("test.Echo", health_pb2.HealthCheckResponse.SERVING)
    checks.set("test.Down", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port, echo


# ---- the calls

def failed(call):
    try:
        call()
    except grpc.RpcError as why:
        return why
    raise AssertionError("no failure")


def cases(channel, echo):
    """(name, what was seen) of every kind of call; the same directly and through a proxy."""
    ask = channel.unary_unary("/test.Echo/Unary")
    yield "empty unary", ask(b"")
    yield "unary", ask(b"hello")
    yield "4 MiB both ways", len(ask(b"x" * LARGE))
    yield "compressed", len(ask(b"x" * LARGE, compression=grpc.Compression.Gzip))
    answer, call = ask.with_call(b"meta", metadata=(("x-echo", "one"), ("x-echo-bin", b"\x00\xff\x80")), timeout=5)
    kept = lambda pairs: sorted((name, value) for name, value in pairs if name.startswith("x-") and not name.startswith(("x-envoy", "x-weir")))
    yield "metadata", (answer, kept(call.initial_metadata()), kept(call.trailing_metadata()))
    why = failed(lambda: ask(b"fail"))
    details = [value for name, value in why.trailing_metadata() if name == "grpc-status-details-bin"]
    yield "status, message, details", (why.code(), why.details(), details)
    why = failed(lambda: channel.unary_unary("/test.Echo/Missing")(b""))
    yield "an unknown method", why.code()
    began = time.monotonic()
    why = failed(lambda: ask(b"sleep", timeout=0.4))
    yield "a deadline", (why.code(), 0.3 < time.monotonic() - began < 1.5)
    left = float(ask(b"remaining", timeout=5))
    yield "what is left of a deadline", 4 < left <= 5.05 or left
    yield "server streaming", [int(message) for message in channel.unary_stream("/test.Echo/Server")(b"500")] == list(range(500))
    yield "client streaming", channel.stream_unary("/test.Echo/Client")(b"y" * 1000 for _ in range(500))
    yield "4 MiB messages in a stream", channel.stream_unary("/test.Echo/Client")(b"y" * LARGE for _ in range(3))
    sent = [b"%d" % number for number in range(300)]
    yield "both streaming", list(channel.stream_stream("/test.Echo/Bidi")(iter(sent))) == sent
    yield "ping-pong", ping_pong(channel, 200)
    echo.cancelled.clear()
    open_end = threading.Event()

    def held():
        yield b"hold"
        open_end.wait(5)
    call = channel.stream_stream("/test.Echo/Bidi")(held())
    first = next(call)
    call.cancel()
    open_end.set()
    yield "cancellation reaches the server", (first, call.code(), echo.cancelled.wait(3))
    sleeping = ask.future(b"sleep")
    time.sleep(0.1)
    sleeping.cancel()
    yield "cancellation of a unary call", sleeping.cancelled()
    yield "a health check", health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status
    with futures.ThreadPoolExecutor(16) as pool:
        yield "300 at once", all(answer == b"olleh" for answer in pool.map(lambda _: ask(b"hello"), range(300)))


def ping_pong(channel, times):
    turn = threading.Semaphore(1)

    def requests():
        for number in range(times):
            turn.acquire()
            yield b"%d" % number
    seen = []
    for answer in channel.stream_stream("/test.Echo/Bidi")(requests()):
        seen.append(int(answer))
        turn.release()
    return seen == list(range(times))


def long_stream(channel, messages, reload, every):
    """One stream of many messages while the documents change."""
    stop, reloads, began = threading.Event(), [0], time.monotonic()

    def change():
        while not stop.wait(every):
            if reload:
                reload(reloads[0])
            reloads[0] += 1
    changer = threading.Thread(target=change)
    changer.start()
    count = 0
    try:
        for answer in channel.stream_stream("/test.Echo/Bidi")(b"%d" % number for number in range(messages)):
            assert int(answer) == count, f"{answer} in place of {count}"
            count += 1
    finally:
        stop.set()
        changer.join()
    assert count == messages, f"{count} of {messages}"
    said = f"{messages} messages in order in {time.monotonic() - began:.0f} s"
    return said + (f", {reloads[0]} reloads" if reload else "")


# ---- weir

MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: echo }}
spec:
  hosts: [echo.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 80, name: grpc, protocol: GRPC, targetPort: {backend} }}]
  endpoints: [{{ address: 127.0.0.1 }}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: echo }}
spec:
  hosts: [echo.test]
  http: [{{ name: round-{round}, headers: {{ request: {{ set: {{ x-round: "{round}" }} }} }}, route: [{{ destination: {{ host: echo.test }} }}] }}]
"""


def free_port():
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Weir:
    def __init__(self, command, backend):
        self.backend, self.port, self.admin = backend, free_port(), free_port()
        self.folder = tempfile.TemporaryDirectory()
        self.mesh = pathlib.Path(self.folder.name) / "mesh.yaml"
        self.write(0)
        arguments = ["run", "--access-log", "off", "--outbound", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}", "-f", str(self.mesh)]
        self.process = subprocess.Popen(shlex.split(command) + arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                if self.get("/ready"):
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("weir is not ready")

    def write(self, number):
        fresh = self.mesh.with_suffix(".new")
        fresh.write_text(MESH.format(backend=self.backend, round=number))
        fresh.rename(self.mesh)

    def get(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.admin}{path}", timeout=2) as answer:
            return answer.read().decode()


def channel_to(port):
    options = CHANNEL + [("grpc.default_authority", "echo.test")]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=options)


def healths(command, port):
    """What `weir health` says of grpcio's server; the names of what is wrong."""
    wrong = []
    for service, code, words in [("", 0, "SERVING\n"), ("test.Echo", 0, "SERVING\n"), ("test.Down", 1, "NOT_SERVING\n"), ("test.Unheard", 2, "")]:
        asked = subprocess.run([*shlex.split(command), "health", f"127.0.0.1:{port}", "--service", service, "--timeout", "10s"],
                               capture_output=True, text=True, timeout=30)
        fine = (asked.returncode, asked.stdout) == (code, words)
        wrong += [] if fine else [f"weir health {service}"]
        print(f"{'ok' if fine else 'WRONG':10} weir health {service or 'of the server'}" + ("" if fine else f": {asked}"), flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="target/release/weir")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--direct", action="store_true", help="the long stream also without weir, to compare")
    parser.add_argument("--every", type=float, default=0.2, help="seconds between reloads")
    options = parser.parse_args()
    server, backend, echo = serve()
    weir = Weir(options.weir, backend)
    wrong = healths(options.weir, backend)
    try:
        with channel_to(backend) as direct, channel_to(weir.port) as through:
            directly = dict(cases(direct, echo))
            for name, seen in cases(through, echo):
                fine = seen == directly[name]
                wrong += [] if fine else [name]
                print(f"{'ok' if fine else 'DIFFERENT':10} {name}" + ("" if fine else f": {seen} in place of {directly[name]}"), flush=True)
            print(f"{'ok':10} a long stream: {long_stream(through, options.messages, weir.write, options.every)}", flush=True)
            if options.direct:
                print(f"{'ok':10} the same directly: {long_stream(direct, options.messages, None, options.every)}", flush=True)
            metrics = weir.get("/metrics")
            labelled = [line for line in metrics.splitlines() if line.startswith("istio_requests_total") and 'request_protocol="grpc"' in line]
            if not any('grpc_response_status="9"' in line for line in labelled):
                wrong.append("grpc_response_status in the metrics")
            # Drain: a stream under way is finished, and the process ends.
            turn = threading.Event()

            def requests():
                yield b"first"
                turn.wait(10)
                yield b"last"
            call = through.stream_stream("/test.Echo/Bidi")(requests())
            first = next(call)
            weir.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            turn.set()
            if (first, [*call]) != (b"first", [b"last"]):
                wrong.append("a stream in a drain")
        if weir.process.wait(15):
            wrong.append("the exit status of a drain")
    finally:
        if weir.process.poll() is None:
            weir.process.kill()
        server.stop(0)
    print(f"{len(directly)} calls, {len(wrong)} wrong {wrong or ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
