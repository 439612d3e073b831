"""Python's websockets through weir behaves as directly: echoes of 0 to 64 KiB, fragments, pings, close codes, and 1,000 idle
sockets over reloads.

    python conformance/websockets_check.py --weir target/release/weir
"""

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: ws }}
spec:
  hosts: [ws.test]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {backend} }}]
  endpoints: [{{ address: 127.0.0.1 }}]
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def echo(peer):
    async for message in peer:
        if isinstance(message, str) and message.startswith("close "):
            await peer.close(int(message.split()[1]), "as asked")
            return
        await peer.send(message)


async def conversation(uri, port):
    """What a client sees, as a list to compare."""
    seen = []
    async with connect(uri, host="127.0.0.1", port=port, max_size=None, ping_interval=None) as peer:
        seen.append(("subprotocol", peer.subprotocol, type(peer.protocol.extensions[0]).__name__ if peer.protocol.extensions else None))
        for length in [0, 1, 125, 126, 1000, 65535, 65536]:
            await peer.send(b"x" * length)
            seen.append(await peer.recv())
            await peer.send("\u00e9" * length)
            seen.append(await peer.recv())
        await peer.send(["one ", "two ", "three"])
        seen.append(await peer.recv())
        await (await peer.ping(b"are you there"))
        seen.append("pong")
    seen.append((peer.close_code, peer.close_reason))
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011]:
        async with connect(uri, host="127.0.0.1", port=port) as peer:
            await peer.send(f"close {code}")
            try:
                await peer.recv()
            except websockets.ConnectionClosed as why:
                seen.append((why.rcvd.code, why.rcvd.reason))
            began = time.monotonic()
            await peer.wait_closed()
            assert time.monotonic() - began < 1, "both sockets are closed within a second"
    return seen


async def idle_over_reloads(uri, port, weir, file, text):
    peers = await asyncio.gather(*(connect(uri, host="127.0.0.1", port=port, ping_interval=None, open_timeout=60) for _ in range(1000)))
    for number in range(10):
        with open(file, "w") as out:
            out.write(text + f"# {number}\n")
        os.kill(weir.pid, signal.SIGHUP)
        await asyncio.sleep(0.2)
    for number, peer in enumerate(peers):
        await peer.send(str(number))
    for number, peer in enumerate(peers):
        assert await peer.recv() == str(number)
    await asyncio.gather(*(peer.close() for peer in peers))
    return len(peers)


async def run(binary):
    backend, outbound, admin = free_port(), free_port(), free_port()
    async with serve(echo, "127.0.0.1", backend, max_size=None, ping_interval=None):
        with tempfile.TemporaryDirectory() as folder:
            file, text = os.path.join(folder, "mesh.yaml"), MESH.format(backend=backend)
            with open(file, "w") as out:
                out.write(text)
            weir = subprocess.Popen([binary, "run", "--outbound", f"127.0.0.1:{outbound}", "--admin", f"127.0.0.1:{admin}", "--access-log", "off", "-f", file], stderr=subprocess.DEVNULL)
            try:
                for _ in range(200):
                    try:
                        socket.create_connection(("127.0.0.1", outbound)).close()
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
                direct = await conversation("ws://ws.test/", backend)
                through = await conversation("ws://ws.test/", outbound)
                assert direct == through, "differs from the direct connection"
                idle = await idle_over_reloads("ws://ws.test/", outbound, weir, file, text)
                print(f"{len(through)} exchanges as directly, {idle} idle sockets over 10 reloads: 0 lost")
            finally:
                weir.terminate()
                weir.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--weir", required=True)
    asyncio.run(run(parser.parse_args().weir))
