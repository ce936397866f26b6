#!/usr/bin/env python3
"""Opens N connections, sends one request on each, says "ready" and holds them until its input is closed."""
import socket, ssl, sys

port, count, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
held = []
for _ in range(count):
    s = socket.create_connection(("127.0.0.1", port))
    if mode == "tls": s = context.wrap_socket(s, server_hostname="bench.example")
    s.sendall(b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n")
    got = b""
    while got.count(b"x") < 1024: got += s.recv(65536)
    held.append(s)
print("ready", flush=True)
sys.stdin.read()
