"""A WebSocket client: HOST PORT [CA FILE [CERTIFICATE KEY]]. Ends with 0 if everything comes back as it was sent."""

import os
import socket
import ssl
import sys
import time

from websockets.sync.client import connect

host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None


def open_socket(path):
    options = {"subprotocols": ["chat.v1", "chat.v2"]}
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.settimeout(None)
    scheme = "ws"
    if ca:
        scheme = "wss"
        options["ssl"] = ssl.create_default_context(cafile=ca)
        if len(sys.argv) > 5:
            options["ssl"].load_cert_chain(sys.argv[4], sys.argv[5])
        options["server_hostname"] = host
    return connect(f"{scheme}://{host}:{port}{path}", sock=sock, max_size=None, ping_interval=None, **options)


with open_socket("/echo") as connection:
    assert connection.subprotocol == "chat.v2", connection.subprotocol
    for message in ["text", "", "\N{SNOWMAN}" * 1000, b"\x00\xff", b""]:
        connection.send(message)
        assert connection.recv(20) == message
    large = os.urandom(8_000_000)
    connection.send(large)
    assert connection.recv(20) == large, "a large message"
    # Many small ones in flight at once.
    for number in range(500):
        connection.send(str(number))
    assert [connection.recv(20) for _ in range(500)] == [str(number) for number in range(500)]
    assert connection.ping().wait(20), "a pong"
    # Longer than a connection without requests may last.
    time.sleep(2.5)
    connection.send("still there")
    assert connection.recv(20) == "still there"
    connection.close(4001, "done")

with open_socket("/whoami") as connection:
    print(connection.recv(20))

# One that is cut off without a closing handshake.
abrupt = open_socket("/abrupt")
abrupt.send("x")
assert abrupt.recv(20) == "x"
abrupt.socket.shutdown(socket.SHUT_RDWR)
