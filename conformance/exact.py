"""More of what frames.py asks: what must be taken, and errors that must have exactly this form. Imported by it."""
import struct

import hpack

from frames import (ACK, BASE, COMPRESSION, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW, GOAWAY, HEADERS, MOST, PADDED, PING,
                    POST, PRIORITIZED, PRIORITY, PROTOCOL, REFUSED, RESET, SETTINGS, UPDATE, CLOSED, check, connection_error,
                    frame, opened, serves, setting, simple, slow, stream_error)

ANYTIME = struct.pack(">IB", 0, 255)


def ping_comes_back(link):
    link.send(frame(PING, 0, 0, b"areyou??"))
    for event in link.events():
        if event and event[0] == PING and event[3] == b"areyou??":
            return bool(event[1] & ACK) or "PING without ACK"
        if event is None or event[0] == GOAWAY:
            return "the connection ended"
    return "silence"


def ping_or_end(link):
    """A PING is answered, or the connection is closed."""
    got = ping_comes_back(link)
    return got == "the connection ended" or got


def data_of(link, length):
    """The next DATA is of this length."""
    for event in link.events():
        if event is None:
            return "the end"
        if event[0] == DATA:
            return len(event[3]) == length or f"{len(event[3])} bytes"
    return "silence"


def acknowledged(link):
    for event in link.events():
        if event is None:
            return "the end"
        if event[0] == SETTINGS and event[1] & ACK:
            return True
    return "no ACK"


def exactly(kind, code):
    """The frame that ends a stream or the connection: of this kind, with this code."""
    def act(link):
        for event in link.events():
            if event is None:
                return "closed without a word"
            if event[0] in (RESET, GOAWAY):
                found = int.from_bytes(event[3][:4] if event[0] == RESET else event[3][4:8], "big")
                return (event[0], found) == (kind, code) or f"{'RST_STREAM' if event[0] == RESET else 'GOAWAY'} {found}"
        return "silence"
    return act


def closed(link):
    return any(event is None for event in link.events(3)) or "not closed"


# What must be taken.
simple("5.1", "PRIORITY on an idle stream is taken", lambda l: [frame(PRIORITY, 0, 1, ANYTIME)], ping_comes_back)


@check("5.1", "half-closed (remote): WINDOW_UPDATE and PRIORITY are taken")
def half_closed(connect):
    link = connect(setting(4, 0)).settle()
    link.send(link.headers(1), frame(PRIORITY, 0, 1, ANYTIME), frame(UPDATE, 0, 1, b"\0\0\0\1"))
    return data_of(link, 1)


simple("5.1", "half-closed (remote): RST_STREAM is taken", lambda l: [l.headers(1), frame(RESET, 0, 1, b"\0\0\0\x08")], ping_comes_back)


@check("5.1", "closed: PRIORITY is taken")
def closed_priority(connect):
    link = connect().settle()
    link.send(link.headers(1))
    if (got := serves(link)) is not True:
        return got
    link.send(frame(PRIORITY, 0, 1, ANYTIME))
    return ping_comes_back(link)


simple("6.1", "DATA in several frames is taken", lambda l: [opened(l), frame(DATA, 0, 1, b"ab"), frame(DATA, END_STREAM, 1, b"c")], serves)
simple("6.2", "padded HEADERS are taken", lambda l: [frame(HEADERS, 5 | PADDED, 1, b"\x03" + l.block(BASE) + b"\0\0\0")], serves)
for words, value in [("weight 1", struct.pack(">IB", 0, 0)), ("weight 256", struct.pack(">IB", 0, 255)), ("a dependency", struct.pack(">IB", 3, 15)),
                     ("an exclusive dependency", struct.pack(">IB", 1 << 31 | 3, 15))]:
    simple("6.2", f"HEADERS with {words} are taken",
           lambda l, priority=value: [frame(HEADERS, 5 | PRIORITIZED, 1, priority + l.block(BASE))], serves)
    simple("6.3", f"PRIORITY with {words} is taken", lambda l, priority=value: [frame(PRIORITY, 0, 1, priority), l.headers(1)], serves)
simple("6.4", "RST_STREAM is taken", lambda l: [opened(l), frame(RESET, 0, 1, b"\0\0\0\x08")], ping_comes_back)
simple("6.5", "SETTINGS of every kind are taken and acknowledged",
       lambda l: [frame(SETTINGS, 0, 0, setting(1, 4096) + setting(2, 1) + setting(3, 100) + setting(4, 65535) + setting(5, 16384) + setting(6, 100))],
       acknowledged)
simple("6.8", "GOAWAY of a client: PING is answered, or the connection ends", lambda l: [frame(GOAWAY, 0, 0, b"\0" * 8 + b"bye")], ping_or_end)
simple("6.9", "WINDOW_UPDATE of the connection is taken", lambda l: [frame(UPDATE, 0, 0, b"\0\0\0\1"), l.headers(1)], serves)
simple("6.9", "WINDOW_UPDATE of a stream is taken", lambda l: [opened(l), frame(UPDATE, 0, 1, b"\0\0\0\1"), frame(DATA, END_STREAM, 1, b"x")], serves)
simple("6.10", "one CONTINUATION is taken",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), frame(CONTINUATION, 4, 1, l.block([("x-dummy", "x" * 4000)]))], serves)
simple("8.1", "HEAD is answered", lambda l: [l.headers(1, [(":method", "HEAD")] + BASE[1:])], serves)
simple("8.1", "POST is answered", lambda l: [opened(l), frame(DATA, END_STREAM, 1, b"test")], serves)
simple("8.1", "POST with announced trailers is answered",
       lambda l: [opened(l, 1, POST + [("trailer", "x-test")]), frame(DATA, 0, 1, b"test"), l.headers(1, [("x-test", "ok")])], serves)
plain, coded = b"\x06x-test\x05value", b"\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x9f"
for kind, first in [("with indexing", 0x40), ("without indexing", 0x00), ("never indexed", 0x10)]:
    simple("RFC 7541", f"a literal {kind} is taken", lambda l, rest=bytes([first]) + plain: [frame(HEADERS, 5, 1, l.block(BASE) + rest)], serves)
    simple("RFC 7541", f"a literal {kind} in Huffman's code is taken",
           lambda l, rest=bytes([first]) + coded: [frame(HEADERS, 5, 1, l.block(BASE) + rest)], serves)
    name = bytes([first | (58 if first == 0x40 else 15)]) + (b"" if first == 0x40 else bytes([58 - 15]))   # user-agent
    simple("RFC 7541", f"a literal {kind} with an indexed name is taken",
           lambda l, rest=name + b"\x05value": [frame(HEADERS, 5, 1, l.block(BASE) + rest)], serves)
simple("RFC 7541", "an indexed field is taken", lambda l: [frame(HEADERS, 5, 1, l.block(BASE) + b"\xba")], serves)
simple("RFC 7541", "a table size update of 0 is taken",
       lambda l: [frame(HEADERS, 5, 1, b"\x20" + hpack.Encoder().encode(BASE[:3]) + b"\x00\x0a:authority\x08app.test")], serves)
simple("RFC 7541", "two table size updates are taken",
       lambda l: [frame(HEADERS, 5, 1, b"\x20\x3f\xe1\x1f" + hpack.Encoder().encode(BASE[:3]) + b"\x00\x0a:authority\x08app.test")], serves)


@check("6.5.3", "values of SETTINGS count in their order")
def in_order(connect):
    link = connect().settle()
    link.send(frame(SETTINGS, 0, 0, setting(4, 100) + setting(4, 1)))
    if (got := acknowledged(link)) is not True:
        return got
    link.send(link.headers(1))
    return data_of(link, 1)


@check("6.9.2", "a window that SETTINGS make larger lets exactly so much through")
def made_larger(connect):
    link = connect().settle()
    link.send(frame(SETTINGS, 0, 0, setting(4, 0)))
    acknowledged(link)
    link.send(link.headers(1), frame(SETTINGS, 0, 0, setting(4, 1)))
    return data_of(link, 1)


@check("6.9.2", "a negative window is counted down before DATA goes on")
def negative(connect):
    link = connect().settle()
    link.send(frame(SETTINGS, 0, 0, setting(4, 3)))
    acknowledged(link)
    link.send(link.headers(1, BASE[:2] + [(":path", "/long"), BASE[3]]))
    if (got := data_of(link, 3)) is not True:
        return got
    link.send(frame(SETTINGS, 0, 0, setting(4, 2)))
    if (got := acknowledged(link)) is not True:
        return got
    link.send(frame(UPDATE, 0, 1, b"\0\0\0\2"))
    return data_of(link, 1)


simple("7", "RST_STREAM with an unknown code is taken", lambda l: [opened(l), frame(RESET, 0, 1, b"\0\0\0\xff")], ping_comes_back)

# Errors of exactly one form.
simple("5.4.1", "behind GOAWAY the connection is closed", lambda l: [frame(PING, 0, 3, b"\0" * 8)], closed)
simple("5.4.1", "GOAWAY comes first", lambda l: [frame(PING, 0, 3, b"\0" * 8)], exactly(GOAWAY, PROTOCOL))
simple("6.9.1", "a connection window above the most: GOAWAY", lambda l: [frame(UPDATE, 0, 0, struct.pack(">I", MOST))] * 2, exactly(GOAWAY, FLOW))
simple("6.9.1", "a stream window above the most: RST_STREAM",
       lambda l: [opened(l)] + [frame(UPDATE, 0, 1, struct.pack(">I", MOST))] * 2, exactly(RESET, FLOW))
simple("6.10", "CONTINUATION behind the last CONTINUATION",
       lambda l: [frame(HEADERS, END_STREAM, 1, l.block(BASE)), frame(CONTINUATION, 4, 1, l.block([("x-a", "1")])), frame(CONTINUATION, 4, 1, l.block([("x-a", "1")]))],
       connection_error, PROTOCOL)
simple("6.10", "DATA between CONTINUATIONs",
       lambda l: [frame(HEADERS, 0, 1, l.block(POST)), frame(CONTINUATION, 0, 1, l.block([("x-a", "1")])), frame(DATA, END_STREAM, 1, b"x")],
       connection_error, PROTOCOL)
simple("5.1.1", "a second HEADERS on a half-closed stream", lambda l: [slow(l, 5, "/slow"), l.headers(5)], stream_error, CLOSED)
EOS = b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xfd\x25\x42\x7f"
for words, block in [("an index of 126", b"\xfe"), ("a table size update at the end", b"\x21"), ("Huffman padding of zeros", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
                     ("eight bits of Huffman padding", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), ("EOS in a Huffman string", EOS)]:
    simple("RFC 7541", words, lambda l, bad=block: [frame(HEADERS, 5, 1, l.block(BASE) + bad)], connection_error, COMPRESSION)
simple("RFC 7541", "a table size above the announced one, by one", lambda l: [frame(HEADERS, 5, 1, b"\x3f\xe2\x1f" + l.block(BASE))], connection_error, COMPRESSION)


@check("3.4", "what is no preface at all ends the connection")
def no_preface(connect):
    link = connect(greet=False)
    link.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    # Not frames: an HTTP/1.1 answer, and the end.
    link.socket.settimeout(3)
    try:
        while link.socket.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@check("5.1.2", "streams beyond the announced limit are refused while answers wait for windows")
def beyond_the_limit(connect):
    link = connect(setting(4, 0))
    limit = 100
    for event in link.events(1):
        if event and event[0] == SETTINGS and not event[1] & ACK:
            pairs = [struct.unpack(">HI", event[3][at:at + 6]) for at in range(0, len(event[3]), 6)]
            limit = dict(pairs).get(3, limit)
            break
    link.send(frame(SETTINGS, ACK))
    link.send(*(frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, link.block(BASE)) for index in range(limit + 1)))
    for event in link.events():
        if event and event[0] == RESET:
            code = int.from_bytes(event[3], "big")
            return code in (PROTOCOL, REFUSED) or f"RST_STREAM {code}"
        if event is None or event[0] == GOAWAY:
            return "the connection ended"
    return f"all of {limit + 1} are taken"
