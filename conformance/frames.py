#!/usr/bin/env python3
"""What RFC 9113 asks of a server, asked of weir in raw frames; and floods that must end.

  python3 conformance/frames.py --weir target/release/weir            # prints a table; the exit status is 1 if one fails
  python3 conformance/frames.py --address 127.0.0.1:8080              # asks another server (it must answer GET / with 200)

Needs hpack and hyperframe, which come with h2.
"""
import argparse
import multiprocessing
import pathlib
import random
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import hpack

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, UPDATE, CONTINUATION = range(10)
NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, CONNECT, CALM = range(12)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MOST = (1 << 31) - 1
BASE = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "app.test")]
POST = [(":method", "POST")] + BASE[1:]


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Link:
    """A connection with its own HPACK state; `events` reads frames as (kind, flags, stream, payload)."""

    def __init__(self, address, settings=b"", greet=True):
        self.socket = socket.create_connection(address, timeout=3)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder, self.buffer = hpack.Encoder(), hpack.Decoder(), b""
        self.decoder.max_allowed_table_size = 1 << 16
        if greet:
            self.send(PREFACE + frame(SETTINGS, payload=settings))

    def send(self, *frames):
        try:
            self.socket.sendall(b"".join(frames))
        except OSError:
            pass

    def block(self, fields):
        return self.encoder.encode(fields)

    def headers(self, stream, fields=BASE, flags=END_STREAM | END_HEADERS):
        return frame(HEADERS, flags, stream, self.block(fields))

    def event(self, wait=2.0):
        """The next frame; None at the end of the connection; TimeoutError."""
        self.socket.settimeout(wait)
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                more = self.socket.recv(65536)
            except (ConnectionError, BrokenPipeError):
                return None
            except socket.timeout:
                raise TimeoutError from None
            if not more:
                return None
            self.buffer += more
        length = int.from_bytes(self.buffer[:3], "big")
        head, payload = self.buffer[:9], self.buffer[9:9 + length]
        self.buffer = self.buffer[9 + length:]
        return head[3], head[4], int.from_bytes(head[5:9], "big") & MOST, payload

    def events(self, wait=2.0):
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            try:
                event = self.event(left)
            except TimeoutError:
                return
            yield event
            if event is None:
                return

    def settle(self):
        """Both sides' settings are known."""
        acknowledged = seen = False
        for event in self.events():
            if event is None:
                return self
            kind, flags, _, _ = event
            if kind == SETTINGS and flags & ACK:
                acknowledged = True
            elif kind == SETTINGS:
                self.send(frame(SETTINGS, ACK))
                seen = True
            if acknowledged and seen:
                return self
        raise AssertionError("no settings")

    def answer(self, stream, wait=3.0):
        """(status, body, trailers) of a response."""
        status, body, trailers = None, b"", []
        for event in self.events(wait):
            if event is None:
                return "closed", body, trailers
            kind, flags, of, payload = event
            if kind == HEADERS:
                fields = self.decoder.decode(payload)
                if of == stream:
                    found = dict(fields).get(":status")
                    status, trailers = (found or status), ([] if found else fields)
            elif of == stream and kind == DATA:
                body += payload
            elif kind == RESET and of == stream:
                return f"reset {int.from_bytes(payload, 'big')}", body, trailers
            elif kind == GOAWAY and int.from_bytes(payload[4:8], "big"):
                return f"goaway {int.from_bytes(payload[4:8], 'big')}", body, trailers
            if of == stream and kind in (HEADERS, DATA) and flags & END_STREAM and status != "100":
                return status, body, trailers
        return "silence", body, trailers

    def close(self):
        self.socket.close()


# ---- what is expected

def connection_error(link, *codes):
    """GOAWAY with one of the codes, or the end of the connection."""
    other = None
    for event in link.events():
        if event is None:
            return other or True
        if event[0] == GOAWAY:
            other = said(int.from_bytes(event[3][4:8], "big"), codes)
            if not isinstance(other, Other):
                return other
    return f"{other}, and not closed" if other else "silence"


class Other(str):
    """It ended as it should, but named another error."""


def said(code, codes):
    return code in codes or (Other(f"GOAWAY {code}, not {codes[0]}") if code else "GOAWAY 0")


def stream_error(link, *codes, answers=False):
    """RST_STREAM with one of the codes, or a connection error with one; where `answers`, a 4xx too."""
    other = None
    for event in link.events():
        if event is None:
            return other or True
        kind, _, _, payload = event
        if kind == RESET:
            code = int.from_bytes(payload, "big")
            return code in codes or f"RST_STREAM {code}"
        if kind == GOAWAY:
            other = said(int.from_bytes(payload[4:8], "big"), codes)
            if isinstance(other, Other):
                continue
            return other
        if kind == HEADERS:
            status = dict(link.decoder.decode(payload)).get(":status", "")
            return (answers and status.startswith("4")) or f"status {status}"
    return "silence"


def refused(link):
    """What the h2 crate passes on and we refuse: a stream error, or a 4xx."""
    return stream_error(link, PROTOCOL, answers=True)


def serves(link, stream=1, status="200"):
    answer = link.answer(stream)
    return answer[0] == status or str(answer[0])


CHECKS = []


def check(section, words):
    def keep(act):
        CHECKS.append((section, words, act))
        return act
    return keep


def simple(section, words, frames, expect, *codes, settled=True):
    """A check that sends frames and looks at what comes."""
    def act(connect):
        link = connect()
        if settled:
            link.settle()
        link.send(*(frames(link)))
        return expect(link, *codes) if codes else expect(link)
    CHECKS.append((section, words, act))


def setting(number, value):
    return struct.pack(">HI", number, value)


def opened(link, stream=1, fields=POST):
    return link.headers(stream, fields, END_HEADERS)


CL = lambda length: POST + [("content-length", str(length))]

simple("3.4", "a preface and SETTINGS are answered by SETTINGS and ACK", lambda l: [l.headers(1)], serves)
simple("4.1", "frames of an unknown type are ignored", lambda l: [frame(0x16, 0xff, 0, b"x" * 8), l.headers(1)], serves)
simple("4.1", "flags that are not defined are ignored", lambda l: [frame(PING, 0x16, 0, b"12345678"), l.headers(1)], serves)
simple("4.1", "the reserved bit is ignored", lambda l: [frame(PING, 0, 1 << 31, b"12345678"), l.headers(1)], serves)
simple("4.2", "DATA of the largest size is taken", lambda l: [opened(l), frame(DATA, END_STREAM, 1, b"x" * 16384)], serves)
simple("4.2", "larger DATA is a size error", lambda l: [opened(l), frame(DATA, END_STREAM, 1, b"x" * 16385)], stream_error, SIZE)
simple("4.2", "larger HEADERS are a size error",
       lambda l: [frame(HEADERS, 5, 1, l.block(BASE) + b"\x00" * 16385)], connection_error, SIZE)
simple("4.3", "a block that cannot be decoded is a compression error",
       lambda l: [frame(HEADERS, 5, 1, b"\x40")], connection_error, COMPRESSION)
simple("4.3", "CONTINUATION of another stream breaks a block",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), frame(CONTINUATION, 4, 3, b"")], connection_error, PROTOCOL)
simple("4.3", "a PRIORITY within a block is an error",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), frame(PRIORITY, 0, 1, b"\0\0\0\0\1")], connection_error, PROTOCOL)
simple("4.3", "a frame of another stream within a block is an error",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), l.headers(3)], connection_error, PROTOCOL)
simple("5.1", "idle: DATA", lambda l: [frame(DATA, END_STREAM, 1, b"x")], connection_error, PROTOCOL, CLOSED)
simple("5.1", "idle: RST_STREAM", lambda l: [frame(RESET, 0, 1, b"\0\0\0\x08")], connection_error, PROTOCOL)
simple("5.1", "idle: WINDOW_UPDATE", lambda l: [frame(UPDATE, 0, 1, b"\0\0\0\x64")], connection_error, PROTOCOL)
simple("5.1", "idle: CONTINUATION", lambda l: [frame(CONTINUATION, 4, 1, l.block(BASE))], connection_error, PROTOCOL)
simple("5.1", "half-closed (remote): DATA",
       lambda l: [l.headers(1, BASE[:2] + [(":path", "/slow"), BASE[3]]), frame(DATA, END_STREAM, 1, b"x")], stream_error, CLOSED)
simple("5.1", "half-closed (remote): HEADERS",
       lambda l: [l.headers(1, BASE[:2] + [(":path", "/slow"), BASE[3]]), l.headers(1)], stream_error, CLOSED, PROTOCOL)
simple("5.1", "half-closed (remote): CONTINUATION",
       lambda l: [l.headers(1, BASE[:2] + [(":path", "/slow"), BASE[3]]), frame(CONTINUATION, 4, 1, b"")], connection_error, CLOSED, PROTOCOL)
simple("5.1", "closed by RST_STREAM: DATA",
       lambda l: [opened(l), frame(RESET, 0, 1, b"\0\0\0\x08"), frame(DATA, END_STREAM, 1, b"x")], stream_error, CLOSED, PROTOCOL)
simple("5.1", "closed by RST_STREAM: HEADERS",
       lambda l: [opened(l), frame(RESET, 0, 1, b"\0\0\0\x08"), l.headers(1)], stream_error, CLOSED, PROTOCOL)
simple("5.1", "closed by RST_STREAM: CONTINUATION",
       lambda l: [opened(l), frame(RESET, 0, 1, b"\0\0\0\x08"), frame(CONTINUATION, 4, 1, b"")], connection_error, CLOSED, PROTOCOL)
simple("5.1.1", "a stream with an even number", lambda l: [l.headers(2)], connection_error, PROTOCOL)
simple("5.1.1", "a stream with a lower number", lambda l: [l.headers(5), l.headers(3)], connection_error, PROTOCOL, CLOSED)


@check("5.1", "closed by END_STREAM: DATA, HEADERS, CONTINUATION")
def after_end(connect):
    for build in (lambda l: frame(DATA, END_STREAM, 1, b"x"), lambda l: l.headers(1), lambda l: frame(CONTINUATION, 4, 1, b"")):
        link = connect().settle()
        link.send(link.headers(1))
        if serves(link) is not True:
            return "no answer"
        link.send(build(link))
        if (got := stream_error(link, CLOSED, PROTOCOL)) is not True:
            return got
    return True


@check("5.1.2", "streams beyond the announced limit are refused")
def too_many_streams(connect):
    link = connect()
    limit = 100
    for event in link.events(0.5):
        if event and event[0] == SETTINGS and not event[1] & ACK:
            payload = event[3]
            for at in range(0, len(payload), 6):
                number, value = struct.unpack(">HI", payload[at:at + 6])
                limit = value if number == 3 else limit
            break
    link.send(frame(SETTINGS, ACK))
    slow = BASE[:2] + [(":path", "/hang"), BASE[3]]
    link.send(*(link.headers(2 * index + 1, slow) for index in range(limit + 1)))
    return stream_error(link, REFUSED, PROTOCOL)


simple("5.3.1", "a stream cannot depend on itself (HEADERS)",
       lambda l: [frame(HEADERS, 5 | PRIORITIZED, 1, b"\0\0\0\1\x10" + l.block(BASE))], stream_error, PROTOCOL)
simple("5.3.1", "a stream cannot depend on itself (PRIORITY)", lambda l: [frame(PRIORITY, 0, 1, b"\0\0\0\1\x10")], stream_error, PROTOCOL)
simple("5.5", "frames of an unknown type within a block are an error",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), frame(0x77, 0, 1, b"x")], connection_error, PROTOCOL)
simple("6.1", "DATA on stream 0", lambda l: [frame(DATA, 0, 0, b"x")], connection_error, PROTOCOL)
simple("6.1", "padding longer than the frame (DATA)",
       lambda l: [opened(l), frame(DATA, PADDED | END_STREAM, 1, b"\x09test")], connection_error, PROTOCOL)
simple("6.1", "padded DATA is taken", lambda l: [opened(l), frame(DATA, PADDED | END_STREAM, 1, b"\x04test\0\0\0\0")], serves)
simple("6.2", "HEADERS on stream 0", lambda l: [frame(HEADERS, 5, 0, l.block(BASE))], connection_error, PROTOCOL)
simple("6.2", "padding longer than the frame (HEADERS)",
       lambda l: [frame(HEADERS, 5 | PADDED, 1, b"\xff" + l.block(BASE))], connection_error, PROTOCOL)
simple("6.2", "padded HEADERS with priority are taken",
       lambda l: [frame(HEADERS, 5 | PADDED | PRIORITIZED, 1, b"\x02\0\0\0\0\x10" + l.block(BASE) + b"\0\0")], serves)
simple("6.3", "PRIORITY on stream 0", lambda l: [frame(PRIORITY, 0, 0, b"\0\0\0\0\x10")], connection_error, PROTOCOL)
simple("6.3", "PRIORITY of a wrong size", lambda l: [opened(l), frame(PRIORITY, 0, 1, b"\0\0\0\0")], stream_error, SIZE)
simple("6.3", "PRIORITY of an idle stream is ignored", lambda l: [frame(PRIORITY, 0, 9, b"\0\0\0\0\x10"), l.headers(1)], serves)
simple("6.4", "RST_STREAM on stream 0", lambda l: [frame(RESET, 0, 0, b"\0\0\0\x08")], connection_error, PROTOCOL)
simple("6.4", "RST_STREAM of a wrong size", lambda l: [opened(l), frame(RESET, 0, 1, b"\0\0\0")], connection_error, SIZE)
simple("6.5", "SETTINGS ACK with a payload", lambda l: [frame(SETTINGS, ACK, 0, setting(3, 1))], connection_error, SIZE)
simple("6.5", "SETTINGS on a stream", lambda l: [frame(SETTINGS, 0, 1, setting(3, 1))], connection_error, PROTOCOL)
simple("6.5", "SETTINGS of a wrong size", lambda l: [frame(SETTINGS, 0, 0, b"\0\3\0")], connection_error, SIZE)
simple("6.5.2", "ENABLE_PUSH other than 0 and 1", lambda l: [frame(SETTINGS, 0, 0, setting(2, 2))], connection_error, PROTOCOL)
simple("6.5.2", "INITIAL_WINDOW_SIZE above the most", lambda l: [frame(SETTINGS, 0, 0, setting(4, 1 << 31))], connection_error, FLOW)
simple("6.5.2", "MAX_FRAME_SIZE below the least", lambda l: [frame(SETTINGS, 0, 0, setting(5, 16383))], connection_error, PROTOCOL)
simple("6.5.2", "MAX_FRAME_SIZE above the most", lambda l: [frame(SETTINGS, 0, 0, setting(5, 1 << 24))], connection_error, PROTOCOL)
simple("6.5.2", "an unknown setting is ignored", lambda l: [frame(SETTINGS, 0, 0, setting(0xff, 1)), l.headers(1)], serves)


@check("6.5.3", "SETTINGS are acknowledged")
def acknowledged(connect):
    link = connect().settle()
    link.send(frame(SETTINGS, 0, 0, setting(3, 50)))
    return any(event and event[0] == SETTINGS and event[1] & ACK for event in link.events(1)) or "no ACK"


simple("6.6", "PUSH_PROMISE of a client", lambda l: [frame(PUSH, 4, 1, b"\0\0\0\2" + l.block(BASE))], connection_error, PROTOCOL)


@check("6.7", "PING is answered with its payload")
def ping(connect):
    link = connect().settle()
    link.send(frame(PING, 0, 0, b"weirweir"))
    return any(event and event[0] == PING and event[1] & ACK and event[3] == b"weirweir" for event in link.events(1)) or "no ACK"


@check("6.7", "PING ACK is not answered")
def ping_ack(connect):
    link = connect().settle()
    link.send(frame(PING, ACK, 0, b"unwanted"), frame(PING, 0, 0, b"wanted.."))
    answers = [event[3] for event in link.events(0.7) if event and event[0] == PING]
    return answers == [b"wanted.."] or str(answers)


simple("6.7", "PING on a stream", lambda l: [frame(PING, 0, 1, b"12345678")], connection_error, PROTOCOL)
simple("6.7", "PING of a wrong size", lambda l: [frame(PING, 0, 0, b"1234567")], connection_error, SIZE)
simple("6.8", "GOAWAY on a stream", lambda l: [frame(GOAWAY, 0, 1, b"\0" * 8)], connection_error, PROTOCOL)
simple("6.9", "a WINDOW_UPDATE of 0 for the connection", lambda l: [frame(UPDATE, 0, 0, b"\0\0\0\0")], connection_error, PROTOCOL)
simple("6.9", "a WINDOW_UPDATE of 0 for a stream", lambda l: [opened(l), frame(UPDATE, 0, 1, b"\0\0\0\0")], stream_error, PROTOCOL)
simple("6.9", "WINDOW_UPDATE of a wrong size", lambda l: [frame(UPDATE, 0, 0, b"\0\0\1")], connection_error, SIZE)
simple("6.9.1", "a connection window above the most",
       lambda l: [frame(UPDATE, 0, 0, struct.pack(">I", MOST)), frame(UPDATE, 0, 0, struct.pack(">I", MOST))], connection_error, FLOW)
simple("6.9.1", "a stream window above the most",
       lambda l: [opened(l)] + [frame(UPDATE, 0, 1, struct.pack(">I", MOST))] * 2, stream_error, FLOW)


@check("6.9.1", "DATA waits for the stream's window")
def window(connect):
    link = connect(setting(4, 1)).settle()
    link.send(link.headers(1))
    sizes = [len(event[3]) for event in link.events(0.7) if event and event[0] == DATA]
    if sizes != [1]:
        return f"sent {sizes}"
    link.send(frame(UPDATE, 0, 1, struct.pack(">I", 100)))
    return link.answer(1)[1] == b"k" or "nothing followed"


@check("6.9.2", "a window that SETTINGS make larger lets DATA through; one may become negative")
def window_changes(connect):
    link = connect(setting(4, 0)).settle()
    link.send(link.headers(1))
    if any(event and event[0] == DATA for event in link.events(0.5)):
        return "sent without a window"
    link.send(frame(SETTINGS, 0, 0, setting(4, 1)), frame(SETTINGS, 0, 0, setting(4, 0)))
    sizes = [len(event[3]) for event in link.events(0.5) if event and event[0] == DATA]
    if sum(sizes) > 1:
        return f"sent {sizes}"
    link.send(frame(SETTINGS, 0, 0, setting(4, 65535)))
    return any(event and event[0] == DATA for event in link.events(1)) or "nothing followed"


simple("6.10", "several CONTINUATIONs are taken",
       lambda l: [frame(HEADERS, END_STREAM, 1, (block := l.block(BASE))[:3]), frame(CONTINUATION, 0, 1, block[3:5]),
                  frame(CONTINUATION, END_HEADERS, 1, block[5:])], serves)
simple("6.10", "CONTINUATION behind END_HEADERS", lambda l: [l.headers(1), frame(CONTINUATION, 4, 1, b"")], connection_error, PROTOCOL, CLOSED)
simple("6.10", "CONTINUATION on stream 0",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), frame(CONTINUATION, 4, 0, b"")], connection_error, PROTOCOL)
simple("6.10", "CONTINUATION behind DATA",
       lambda l: [opened(l), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, 4, 1, b"")], connection_error, PROTOCOL)
simple("7", "an unknown error code is no reason to fail", lambda l: [frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff"), frame(PING, 0, 0, b"12345678")],
       lambda l: any(e is None or e[0] == PING for e in l.events(1)) or "silence")
simple("8.1", "HEADERS in the middle without END_STREAM",
       lambda l: [opened(l), frame(DATA, 0, 1, b"x"), l.headers(1, [("x-t", "1")], END_HEADERS)], stream_error, PROTOCOL)
simple("8.1", "trailers are taken", lambda l: [opened(l), frame(DATA, 0, 1, b"x"), l.headers(1, [("x-t", "1")])], serves)
simple("8.1", "a pseudo-header in trailers",
       lambda l: [opened(l), frame(DATA, 0, 1, b"x"), l.headers(1, [(":method", "GET")])], stream_error, PROTOCOL)
simple("8.2", "a name with upper-case letters", lambda l: [l.headers(1, BASE + [("X-Up", "1")])], stream_error, PROTOCOL)
for name, value in [("x a", "1"), ("x\x00a", "1"), ("x-a", "1\r\nx-b: 2"), ("x-a", "1\x00"), ("x-a", "1\n2"), ("x-a", " 1"), ("x-a", "1 "),
                    ("x:a", "1"), ("", "1"), ("connection", "close"), ("transfer-encoding", "chunked"), ("keep-alive", "1"),
                    ("upgrade", "h2c"), ("proxy-connection", "close"), ("te", "gzip"), ("te", "trailers, deflate")]:
    simple("8.2", f"the field {name!r}: {value!r}",
           lambda l, one=(name, value): [l.headers(1, BASE + [one])], *([refused] if value.strip() != value else [stream_error, PROTOCOL]))
simple("8.2", "te: trailers is taken", lambda l: [l.headers(1, BASE + [("te", "trailers")])], serves)
simple("8.3", "an unknown pseudo-header", lambda l: [l.headers(1, BASE + [(":x", "1")])], stream_error, PROTOCOL)
simple("8.3", "a response's pseudo-header", lambda l: [l.headers(1, BASE + [(":status", "200")])], stream_error, PROTOCOL)
simple("8.3", "a pseudo-header behind a field", lambda l: [l.headers(1, BASE[:3] + [("x-a", "1"), BASE[3]])], stream_error, PROTOCOL)
simple("8.3.1", "an empty :path", lambda l: [l.headers(1, BASE[:2] + [(":path", "")] + BASE[3:])], stream_error, PROTOCOL)
simple("8.3.1", "a :path that does not begin with /", lambda l: [l.headers(1, BASE[:2] + [(":path", "x")] + BASE[3:])], stream_error, PROTOCOL)
simple("8.3.1", "a :path with a scheme", lambda l: [l.headers(1, BASE[:2] + [(":path", "http://b.test/")] + BASE[3:])], stream_error, PROTOCOL)
simple("8.3.1", "a :path with a space", lambda l: [l.headers(1, BASE[:2] + [(":path", "/a b")] + BASE[3:])], stream_error, PROTOCOL)
simple("8.3.1", "a :scheme that is none", lambda l: [l.headers(1, [BASE[0], (":scheme", "http://x?")] + BASE[2:])], stream_error, PROTOCOL)
for missing in (0, 1, 2):
    simple("8.3.1", f"no {BASE[missing][0]}", lambda l, gone=missing: [l.headers(1, BASE[:gone] + BASE[gone + 1:])], stream_error, PROTOCOL)
    simple("8.3.1", f"two of {BASE[missing][0]}", lambda l, twice=missing: [l.headers(1, BASE[:twice + 1] + BASE[twice:])], stream_error, PROTOCOL)
simple("8.3.1", "two of :authority", lambda l: [l.headers(1, BASE + [BASE[3]])], stream_error, PROTOCOL)
simple("8.3.1", ":authority and host differ", lambda l: [l.headers(1, BASE + [("host", "other.test")])], refused)
simple("8.3.1", ":authority and host are the same", lambda l: [l.headers(1, BASE + [("host", "app.test")])], serves)
simple("8.3.1", "host without :authority", lambda l: [l.headers(1, BASE[:3] + [("host", "app.test")])], serves)
simple("8.3.1", "userinfo in :authority", lambda l: [l.headers(1, BASE[:3] + [(":authority", "me@app.test")])], refused)
simple("8.1.1", "content-length, and more DATA", lambda l: [opened(l, 1, CL(1)), frame(DATA, END_STREAM, 1, b"xx")], stream_error, PROTOCOL)
simple("8.1.1", "content-length, and less DATA", lambda l: [opened(l, 1, CL(3)), frame(DATA, END_STREAM, 1, b"xx")], stream_error, PROTOCOL)
simple("8.1.1", "content-length, and more DATA in several frames",
       lambda l: [opened(l, 1, CL(3)), frame(DATA, 0, 1, b"xx"), frame(DATA, END_STREAM, 1, b"xx")], stream_error, PROTOCOL)
simple("8.1.1", "content-length, and no DATA", lambda l: [l.headers(1, CL(3))], stream_error, PROTOCOL)
simple("8.1.1", "content-length that is no number", lambda l: [opened(l, 1, POST + [("content-length", "+1")]), frame(DATA, 1, 1, b"x")], stream_error, PROTOCOL)
simple("8.1.1", "two values of content-length",
       lambda l: [opened(l, 1, POST + [("content-length", "1"), ("content-length", "2")]), frame(DATA, 1, 1, b"x")], stream_error, PROTOCOL)
simple("8.5", "CONNECT with :path", lambda l: [l.headers(1, [(":method", "CONNECT"), (":path", "/"), (":scheme", "http"), BASE[3]])], stream_error, PROTOCOL)
@check("3.4", "a wrong preface ends the connection")
def wrong_preface(connect):
    for preface in (b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"):
        link = connect(greet=False)
        link.send(preface)
        if (got := connection_error(link, PROTOCOL)) is not True:
            return got
    return True


@check("3.4", "the first frame must be SETTINGS")
def first_frame(connect):
    link = connect(greet=False)
    link.send(PREFACE, frame(PING, 0, 0, b"12345678"))
    return connection_error(link, PROTOCOL)


@check("6.8", "after a GOAWAY of the client, streams under way are finished")
def goaway_of_client(connect):
    link = connect().settle()
    link.send(link.headers(1, BASE[:2] + [(":path", "/slow"), BASE[3]]), frame(GOAWAY, 0, 0, b"\0" * 8))
    return serves(link)


@check("RFC 7541", "a table size update at the start of a block is taken, one above the limit is an error")
def table_size(connect):
    link = connect().settle()
    link.send(frame(HEADERS, 5, 1, b"\x20" + hpack.Encoder().encode(BASE[:1]) + hpack.Encoder().encode(BASE[1:], huffman=False)))
    link.answer(1)
    link = connect().settle()
    link.send(frame(HEADERS, 5, 1, b"\x3f\xe2\xff\x03" + link.block(BASE)))
    return connection_error(link, COMPRESSION)


for words, block in [("an index beyond the table", b"\xc6"), ("the index 0", b"\x80"), ("a string that does not end", b"\x00\x7f"),
                     ("Huffman padding longer than 7 bits", b"\x00\x82\x1c\xff\x81\xff"), ("a number that overflows", b"\xff" * 12)]:
    simple("RFC 7541", words, lambda l, bad=block: [frame(HEADERS, 5, 1, l.block(BASE) + bad)], connection_error, COMPRESSION)


# ---- floods

FLOODS = []
# Streams at once of a Gateway's client, and what an attack may start upstream at most.
STREAMS = 100
STARTS = STREAMS * 11 // 10


def flood(words, reads=True, connections=1):
    def keep(act):
        FLOODS.append((words, lambda address: attacks(address, act, reads, connections)))
        return act
    return keep


def slow(link, stream, path="/hang"):
    return link.headers(stream, BASE[:2] + [(":path", path), BASE[3]])


@flood("rapid reset: HEADERS and RST_STREAM")
def rapid_reset(link):
    for stream in range(1, 1 << 20, 200):
        yield 200, b"".join(slow(link, id) + frame(RESET, 0, id, b"\0\0\0\x08") for id in range(stream, stream + 200, 2))


@flood("resets that we are made to send: a WINDOW_UPDATE of 0")
def made_to_reset(link):
    for stream in range(1, 1 << 20, 200):
        yield 200, b"".join(slow(link, id) + frame(UPDATE, 0, id, b"\0\0\0\0") for id in range(stream, stream + 200, 2))


@flood("CONTINUATION with data, without an end")
def continuation(link):
    yield 1, frame(HEADERS, END_STREAM, 1, link.block(BASE))
    while True:
        yield 10, frame(CONTINUATION, 0, 1, b"\x00\x03x-a\x7f\x00" + b"v" * 127) * 10


@flood("empty CONTINUATION")
def empty_continuation(link):
    yield 1, frame(HEADERS, END_STREAM, 1, link.block(BASE))
    while True:
        yield 100, frame(CONTINUATION, 0, 1) * 100


@flood("SETTINGS, and nobody reads the answers", reads=False)
def settings(link):
    while True:
        yield 100, frame(SETTINGS, 0, 0, setting(4, 65535)) * 100


@flood("PING, and nobody reads the answers", reads=False)
def pings(link):
    while True:
        yield 100, frame(PING, 0, 0, b"12345678") * 100


@flood("empty DATA")
def empty_data(link):
    yield 1, opened(link)
    while True:
        yield 100, frame(DATA, 0, 1) * 100


@flood("PRIORITY")
def priority(link):
    while True:
        yield 100, b"".join(frame(PRIORITY, 0, 2 * i + 1, b"\0\0\0\0\x10") for i in range(100))


@flood("WINDOW_UPDATE of 1")
def updates(link):
    while True:
        yield 100, frame(UPDATE, 0, 0, b"\0\0\0\1") * 100


@flood("frames of an unknown type")
def unknown(link):
    while True:
        yield 100, frame(0x99, 0, 0, b"x") * 100


@flood("HPACK: one large field, referred to thousands of times, with no window, on four connections", connections=4)
def bomb(link):
    link.send(frame(SETTINGS, 0, 0, setting(4, 0)))
    block = link.block(BASE + [("x-large", "v" * 3000)])
    yield 1, frame(HEADERS, 5, 1, block)
    for stream in range(3, 1 << 20, 2):
        yield 1, frame(HEADERS, 5, stream, link.block(BASE) + b"\xbe" * 4000)


def attacks(address, act, reads, connections):
    """On so many connections at once: (frames of all, seconds until the last end or None)."""
    found = []
    each = [threading.Thread(target=lambda: found.append(attack(address, act, reads))) for _ in range(connections)]
    for one in each:
        one.start()
    for one in each:
        one.join()
    ends = [seconds for _, seconds in found]
    return sum(frames for frames, _ in found), None if None in ends or not ends else max(ends)


def attack(address, act, reads, seconds=8.0):
    """(frames until the end, seconds until the end or None)."""
    link = Link(address)
    link.settle()
    link.socket.settimeout(0.5)
    began, frames, ended = time.monotonic(), 0, threading.Event()

    def listen():
        try:
            for event in link.events(seconds):
                if event is None or event[0] == GOAWAY:
                    return ended.set()
        except OSError:
            pass    # closed at the end of the attack
    if reads:
        threading.Thread(target=listen, daemon=True).start()
    for count, data in act(link):
        if ended.is_set() or time.monotonic() - began > seconds:
            break
        try:
            link.socket.sendall(data)
        except (socket.timeout, TimeoutError):
            continue
        except OSError:
            ended.set()
            break
        frames += count
    taken = time.monotonic() - began
    link.close()
    return frames, taken if ended.is_set() else None


def resident(process):
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def latencies(address, stop, into):
    """Requests of a client that does nothing wrong."""
    link = Link(address)
    link.settle()
    stream = 1
    while not stop.is_set():
        began = time.monotonic()
        link.send(link.headers(stream))
        if link.answer(stream)[0] != "200":
            into.append(99.0)
            return
        into.append(time.monotonic() - began)
        stream += 2
        time.sleep(0.002)


# ---- the server

class Backend(threading.Thread):
    """HTTP/1.1: `ok` to everything, /long a longer word; /slow after a moment, /hang never."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.starts = 0

    def run(self):
        while True:
            peer, _ = self.listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        reader = peer.makefile("rb")
        try:
            while line := reader.readline():
                self.starts += 1
                path, length, chunked = line.split()[1], 0, False
                while (field := reader.readline().lower()) not in (b"\r\n", b""):
                    name, _, value = field.partition(b":")
                    length = int(value) if name == b"content-length" else length
                    chunked = chunked or (name == b"transfer-encoding" and b"chunked" in value)
                reader.read(length)
                while chunked and (size := int(reader.readline(), 16)):
                    reader.read(size + 2)
                while chunked and reader.readline() not in (b"\r\n", b""):
                    pass
                if path.startswith(b"/hang"):
                    reader.read(1)
                    return
                time.sleep(0.3 if path.startswith(b"/slow") else 0)
                body = b"a longer word" if path.startswith(b"/long") else b"ok"
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), b"" if line.startswith(b"HEAD") else body))
        except (OSError, ValueError, IndexError):
            pass
        finally:
            peer.close()


MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {backend} }}]
  endpoints: [{{ address: 127.0.0.1 }}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge }}
spec:
  servers: [{{ port: {{ number: {gateway}, name: http2, protocol: HTTP2 }}, bind: 127.0.0.1, hosts: [app.test] }}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  gateways: [edge]
  http: [{{ route: [{{ destination: {{ host: app.test }} }}] }}]
"""


def free_port():
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Weir:
    def __init__(self, command):
        backend = Backend()
        backend.start()
        gateway, admin = free_port(), free_port()
        self.address, self.backend, self.admin = ("127.0.0.1", gateway), backend, admin
        self.folder = tempfile.TemporaryDirectory()
        mesh = pathlib.Path(self.folder.name) / "mesh.yaml"
        mesh.write_text(MESH.format(backend=backend.port, gateway=gateway))
        arguments = ["run", "--workers", "1", "--access-log", "off", "--outbound", "off", "--admin", f"127.0.0.1:{admin}", "-f", str(mesh)]
        self.process = subprocess.Popen(shlex.split(command) + arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(200):
            try:
                if self.get("/ready"):
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"weir is not ready: {self.process.stderr.read1().decode()}")

    def get(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.admin}{path}", timeout=2) as answer:
            return answer.read().decode()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


def table(results):
    """The checks by section, for docs/src/http2.md."""
    sections = {}
    for section, words, result in results:
        sections.setdefault(section, []).append((words, result))
    print("| section | checks | what | result |\n| --- | --- | --- | --- |")
    order = lambda section: [int(part) if part.isdigit() else 99 for part in section.replace("RFC 7541", "99").split(".")]
    for section in sorted(sections, key=order):
        rows = sections[section]
        other = sum(isinstance(result, Other) for _, result in rows)
        said = "as it asks" + (f"; {other} ended with PROTOCOL_ERROR" if other else "")
        said = said if all(result is True or isinstance(result, Other) for _, result in rows) else "FAILED"
        print(f"| {section} | {len(rows)} | {'; '.join(words for words, _ in rows)} | {said} |".replace("'\\x00'", "NUL"))


def run_checks(address, only):
    failed, results = [], []
    for section, words, act in CHECKS:
        if only and only not in f"{section} {words}":
            continue
        links = []

        def connect(settings=b"", greet=True):
            links.append(Link(address, settings, greet))
            return links[-1]
        try:
            result = act(connect)
        except (AssertionError, OSError, TimeoutError, hpack.HPACKError) as why:
            result = f"{type(why).__name__}: {why}"
        for link in links:
            link.close()
        results.append((section, words, result))
        fine = result is True or isinstance(result, Other)
        failed += [] if fine else [(section, words)]
        print(f"{'ok' if fine else 'FAILED':7} {section:8} {words}" + ("" if result is True else f": {result}"), flush=True)
    return failed, results


def in_a_process(act):
    """Its own interpreter: what the victim sees is weir's doing, not that of Python's one lock."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=lambda: theirs.send(act()))
    child.start()
    result = ours.recv() if ours.poll(60) else (0, None)
    child.join(5)
    return result


class Result:
    """Of one flood."""

    def __init__(self, frames, seconds):
        self.frames, self.seconds = frames, seconds

    def p99(self, times):
        return 1000 * sorted(times)[int(len(times) * 0.99)]

    def is_fine(self):
        ended = self.seconds is not None and (self.seconds <= 1.0 or self.frames <= 10_000)
        # Twice as long, or what one more busy process costs on a machine of two cores.
        victim = 99.0 not in self.during and self.p99(self.during) <= max(2 * self.p99(self.quiet), 20)
        return ended and self.grown <= 16 and victim and self.starts <= STARTS

    def __str__(self):
        how = "not ended" if self.seconds is None else f"ended after {self.frames} frames, {self.seconds:.2f} s"
        return (f"{how}; +{self.grown} MB; {max(0, self.starts)} started upstream; "
                f"p99 of another {self.p99(self.quiet):.1f} -> {self.p99(self.during):.1f} ms")


def run_floods(weir, only):
    failed = []
    for words, act in FLOODS:
        if only and only not in words:
            continue
        # Another client's latency on a machine that others use too: one quiet run of three will do.
        for _ in range(3):
            result = run_flood(weir, act)
            if result.is_fine():
                break
        fine = result.is_fine()
        failed += [] if fine else [words]
        print(f"{'ok' if fine else 'FAILED':7} {words}: {result}", flush=True)
    return failed


def run_flood(weir, act):
    quiet, during, stop = [], [], threading.Event()
    good = threading.Thread(target=latencies, args=(weir.address, stop, quiet))
    good.start()
    time.sleep(0.6)
    stop.set()
    good.join()
    before, starts = resident(weir.process.pid), weir.backend.starts
    stop = threading.Event()
    good = threading.Thread(target=latencies, args=(weir.address, stop, during))
    good.start()
    result = Result(*in_a_process(lambda: act(weir.address)))
    time.sleep(0.4)
    stop.set()
    good.join()
    result.grown = (resident(weir.process.pid) - before) // 1024
    result.starts = weir.backend.starts - starts - len(during)
    result.quiet, result.during = quiet, during
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="target/release/weir")
    parser.add_argument("--address", help="of another server: checks only")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", action="store_true", help="the checks by section, as in docs/src/http2.md")
    parser.add_argument("--floods", action="store_true", help="floods only")
    options = parser.parse_args()
    sys.modules["frames"] = sys.modules["__main__"]
    import exact  # noqa: F401: it adds to CHECKS
    if options.address:
        host, _, port = options.address.rpartition(":")
        failed, _ = run_checks((host, int(port)), options.only)
        print(f"{len(CHECKS)} checks, {len(failed)} failed")
        return 1 if failed else 0
    weir = Weir(options.weir)
    try:
        failed, results = ([], []) if options.floods else run_checks(weir.address, options.only)
        failed += run_floods(weir, options.only)
        if weir.process.poll() is not None:
            failed.append("weir ended")
    finally:
        weir.stop()
    if options.table:
        table(results)
    print(f"{len(CHECKS)} checks and {len(FLOODS)} floods, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
