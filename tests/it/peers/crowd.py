"""Many clients at once: HOST PORT COUNT. Each opens a connection, and asks every few seconds until standard input ends.
Prints "open" once all have tried, and at the end how many responses had which status; 0 stands for a connection that was
refused or closed."""

import asyncio
import collections
import resource
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
statuses = collections.Counter()
tried = 0
over = asyncio.Event()


async def ask(reader, writer):
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return int(head.split(b" ", 2)[1])


async def client():
    global tried
    writer, first = None, True
    while not over.is_set():
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            statuses[await ask(reader, writer)] += 1
        except (OSError, asyncio.IncompleteReadError):
            statuses[0] += 1
            writer = None
        tried += first
        first = False
        try:
            await asyncio.wait_for(over.wait(), 5)
        except asyncio.TimeoutError:
            pass


async def main():
    clients = []
    for _ in range(count):
        clients.append(asyncio.create_task(client()))
        await asyncio.sleep(0.0005)
    while tried < count:
        await asyncio.sleep(0.05)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    over.set()
    await asyncio.wait(clients, timeout=5)
    print(*(f"{status}={number}" for status, number in sorted(statuses.items())), flush=True)


asyncio.run(main())
