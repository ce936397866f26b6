#!/usr/bin/env python3
"""Measures what gatelet alone takes (size, memory, disk writes, how fast it is live) against budgets.toml."""
import argparse, http.server, os, re, signal, statistics, subprocess, sys, threading, time, tomllib
from pathlib import Path
import api
from compare import Certs, get, pss_kib
from peers import Gatelet, ORIGIN, hosts

HERE = Path(__file__).parent
INGRESSES, CERTIFICATES, CONNECTIONS = 5000, 500, 1000


class Board:
    """Prints each figure beside its budget and remembers whether all hold."""
    def __init__(self, instructions=False):
        budgets = tomllib.loads((HERE / "budgets.toml").read_text())
        self.budgets = {key: budget for key, budget in budgets.items() if key.endswith("_instructions") == instructions}
        self.missing, self.good = set(self.budgets), True

    def put(self, key, value, note=""):
        budget = self.budgets[key]
        self.missing.discard(key)
        holds = value <= budget["limit"]
        self.good &= holds
        figure, limit = f"{value:.1f} {budget['unit']}", f"{budget['limit']} {budget['unit']}"
        print(f"{budget['what']:76} {figure:>10}  {limit:>7}  {'holds' if holds else 'DOES NOT HOLD'}{note}", flush=True)


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the body waits for the acknowledgement of the head.
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1024")
        self.end_headers()
        self.wfile.write(b"x" * 1024)

    def log_message(self, *_): pass


class Origins(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 2048


class Process:
    """A gatelet that runs, mini cluster or fed by the API of another (its kubeconfig)."""
    def __init__(self, peer, kubeconfig=None):
        self.peer, self.kubeconfig = peer, kubeconfig
        peer.configure(0, 0)
        self.start()

    def start(self):
        """Starts it and returns when it began."""
        command = self.peer.command()
        if self.kubeconfig:
            command[command.index("--api") + 1] = "off"
            command += ["--kubeconfig", str(self.kubeconfig)]
        log = open(self.peer.dir / "log", "w")
        began = time.time()
        self.process = subprocess.Popen(command, env=self.peer.env, stdout=log, stderr=log)
        return began

    def until(self, host, status=200, seconds=120):
        end = time.time() + seconds
        while not get(self.peer.http, host).startswith(f"HTTP/1.1 {status}"):
            if self.process.poll() is not None or time.time() > end: raise RuntimeError(f"see {self.peer.dir}/log")
            time.sleep(0.001)

    def pss(self):
        """KiB, once it has come to rest."""
        time.sleep(3)
        return pss_kib([self.process.pid])

    def written(self):
        """Bytes that the process caused to be written to storage."""
        return int(re.search(r"write_bytes: (\d+)", Path(f"/proc/{self.process.pid}/io").read_text()).group(1))

    def stop(self):
        if self.process.poll() is None: self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Mini(Process):
    def __init__(self, peer):
        super().__init__(peer)
        self.until("nobody.example", 404)
        peer.loaded()
        self.client = peer.client
        self.client.post("/api/v1/namespaces/default/services", api.service("nowhere"))
        self.until("bench.example")

    def mark(self, host):
        """A host whose Service has no endpoints: every gatelet that knows it answers 503."""
        body = api.ingress(host.split(".")[0], host, "nowhere", None)
        self.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", body)

    def ingress(self, i, secret):
        host = hosts(i)[-1]
        if secret: self.client.post("/api/v1/namespaces/default/secrets", api.secret(f"cert{i}", *self.peer.certs.pair(i)))
        body = api.ingress(f"r{i}", host, "origin", f"cert{i}" if secret else None)
        self.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", body)


def connections(board, args, certs):
    for key, mode in (("connection", "plain"), ("tls_connection", "tls")):
        # Each in a process of its own: memory that an allocator keeps would hide the second kind.
        mini = Mini(Gatelet("budgets", 6, args.work, args.gatelet, certs))
        try:
            before, port = mini.pss(), mini.peer.https if mode == "tls" else mini.peer.http
            held = subprocess.Popen([sys.executable, str(HERE / "hold.py"), str(port), str(CONNECTIONS), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if "ready" not in held.stdout.readline(): raise RuntimeError("connections are not held")
            board.put(key, (mini.pss() - before) / CONNECTIONS)
            held.stdin.close(); held.wait()
        finally: mini.stop()


def writes(board, mini):
    before = mini.written()
    time.sleep(20)
    board.put("idle_writes", (mini.written() - before) / 1024)
    before = mini.written()
    # As many as it takes until the database has got some of them, too.
    for i in range(1000):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{i}"}, "data": {"text": "x" * 2000}}
        mini.client.post("/api/v1/namespaces/default/configmaps", body)
    board.put("api_write", (mini.written() - before) / 1024 / 1000)


def edits(board, mini):
    times = []
    for i in range(50):
        mark = f"live{i}.bench.example"
        mini.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", api.ingress(f"live{i}", mark, "origin", None))
        began = time.time()
        mini.until(mark)
        times.append((time.time() - began) * 1000)
    board.put("edit", statistics.median(times), f" (worst {max(times):.1f})")


def costs(board, prefix, empty, plain, full):
    """Per Ingress and per certificate, from the memory with none, with those without TLS, and with all (KiB)."""
    each = (plain - empty) / (INGRESSES - CERTIFICATES)
    board.put(f"{prefix}thousand", each * 1000 / 1024)
    board.put(f"{prefix}certificate", (full - plain) / CERTIFICATES - each)
    board.put(f"{prefix}full", full / 1024)


def restart(board, key, one):
    one.stop()
    began = one.start()
    one.until("full.bench.example", 503)
    took = (time.time() - began) * 1000
    board.put(key, took, f" (memory then {one.pss() / 1024:.1f} MB)")


def many(board, args, certs):
    mini = Mini(Gatelet("budgets", 6, args.work, args.gatelet, certs))
    fed = None
    try:
        kubeconfig = mini.peer.dir / "state/kubeconfig"
        fed = Process(Gatelet("budgets-fed", 7, args.work, args.gatelet, certs), kubeconfig)
        def settle(host):
            mini.mark(host)
            for one in (mini, fed): one.until(host, 503)
            return mini.pss(), fed.pss()
        empty = settle("none.bench.example")
        for i in range(CERTIFICATES + 1, INGRESSES + 1): mini.ingress(i, False)
        plain = settle("plain.bench.example")
        for i in range(1, CERTIFICATES + 1): mini.ingress(i, True)
        full = settle("full.bench.example")
        for prefix, at in (("mini_", 0), ("", 1)): costs(board, prefix, empty[at], plain[at], full[at])
        edits(board, mini)
        fed.stop()
        restart(board, "start", mini)
        mini.stop()
        restart(board, "start_away", fed)
    finally:
        mini.stop()
        if fed: fed.stop()


def main():
    parser = argparse.ArgumentParser()
    for name in ("gatelet", "work"): parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    board, certs = Board(), Certs(args.work, CERTIFICATES)
    origin = Origins(ORIGIN, Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    board.put("binary", os.path.getsize(args.gatelet) / 1e6)
    mini = Mini(Gatelet("budgets", 6, args.work, args.gatelet, certs))
    try:
        board.put("idle", mini.pss() / 1024)
        writes(board, mini)
    finally: mini.stop()
    connections(board, args, certs)
    many(board, args, certs)
    if board.missing: raise RuntimeError(f"not measured: {', '.join(sorted(board.missing))}")
    sys.exit(0 if board.good else 1)


if __name__ == "__main__":
    main()
