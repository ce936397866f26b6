#!/usr/bin/env python3
"""Counts the user instructions that gatelet spends on a request, by callgrind. The figures hardly depend on the machine."""
import argparse, http.server, os, re, socket, ssl, subprocess, sys, threading, time
from pathlib import Path
import api
from budgets import Board, Origin, Origins
from compare import Certs, HEADERS, get
from peers import Gatelet, ORIGIN

WARM, COUNT = 200, 1000


class Callgrind(Gatelet):
    def command(self):
        for old in self.dir.glob("callgrind.*"): old.unlink()
        return ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.dir}/callgrind.out"] + super().command()


# An allow-list, a rewrite and CORS.
STEPS = {"nginx.ingress.kubernetes.io/" + name: value for name, value in {
    "whitelist-source-range": "10.0.0.0/8, 127.0.0.0/8, 192.168.0.0/16", "rewrite-target": "/other",
    "enable-cors": "true", "cors-allow-origin": "https://shop.example.com"}.items()}


def requests(port, tls, count, host="bench.example", more=()):
    """Sends requests over one connection, one after another."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            s = context.wrap_socket(s, server_hostname="bench.example")
        request = "".join(f"{line}\r\n" for line in ["GET / HTTP/1.1", f"Host: {host}", *more, *HEADERS, ""]).encode()
        for _ in range(count):
            s.sendall(request)
            response = b""
            while b"\r\n\r\n" not in response: response += s.recv(65536)
            head, body = response.split(b"\r\n\r\n", 1)
            if b" 200 " not in head.split(b"\r\n")[0]: raise RuntimeError(head.decode())
            length = int(re.search(rb"content-length: (\d+)", head, re.I).group(1))
            while len(body) < length: body += s.recv(65536)


def http2(port, count):
    flags = [x for h in HEADERS for x in ("-H", h)]
    out = subprocess.run(["h2load", "-t1", "-c1", "-m1", f"-n{count}", "-H", ":authority: bench.example"] + flags + [f"https://127.0.0.1:{port}/"],
                         capture_output=True, text=True, check=True).stdout
    if f"{count} succeeded" not in out: raise RuntimeError(out[-500:])


def measure(peer, process, name, send):
    control = lambda *what: subprocess.run(["callgrind_control", *what, str(process.pid)], check=True, capture_output=True)
    send(WARM)
    control("-i", "on")
    control("-z")
    send(COUNT)
    control("-d", name)
    control("-i", "off")
    newest = max(peer.dir.glob("callgrind.out*"), key=lambda path: int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0)
    total = int(re.search(r"^(?:summary|totals): (\d+)", newest.read_text(), re.M).group(1))
    newest.rename(peer.dir / f"callgrind.{name}")
    return total / COUNT / 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gatelet", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()

    certs = Certs(args.work, 1)
    origin = Origins(ORIGIN, Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    peer = Callgrind("callgrind", 8, args.work, args.gatelet, certs)
    peer.configure(0, 0)
    process = subprocess.Popen(peer.command(), env=peer.env, stdout=open(peer.dir / "log", "w"), stderr=subprocess.STDOUT)
    try:
        end = time.time() + 300
        while get(peer.http) == "":
            if process.poll() is not None or time.time() > end: raise RuntimeError(f"see {peer.dir}/log")
            time.sleep(0.1)
        peer.loaded()
        while not get(peer.http, "bench.example").startswith("HTTP/1.1 200"): time.sleep(0.1)

        steps = api.ingress("steps", "steps.example", "origin", None)
        steps["metadata"]["annotations"].update(STEPS)
        peer.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", steps)
        while not get(peer.http, "steps.example").startswith("HTTP/1.1 200"): time.sleep(0.1)

        board = Board(instructions=True)
        plain = measure(peer, process, "h1", lambda n: requests(peer.http, False, n))
        board.put("h1_instructions", plain)
        with_steps = measure(peer, process, "steps", lambda n: requests(peer.http, False, n, "steps.example", ["Origin: https://shop.example.com"]))
        board.put("steps_instructions", with_steps - plain)
        board.put("tls_instructions", measure(peer, process, "tls", lambda n: requests(peer.https, True, n)))
        board.put("h2_instructions", measure(peer, process, "h2", lambda n: http2(peer.https, n)))
        sys.exit(0 if board.good else 1)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__": main()
