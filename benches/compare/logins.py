#!/usr/bin/env python3
"""Measures whether logins at one host slow down another: 50 wrong passwords a second against a hash of bcrypt with cost 10, and
the 99th percentile of requests to a host without logins; in turn with the same 50 requests to a host that asks for none."""
import argparse, base64, multiprocessing, socket, statistics, subprocess, threading, time
import api
from budgets import Origin, Origins
from compare import Certs, get
from peers import Gatelet, ORIGIN

LOGINS, REQUESTS = 50, 200


class TwoCores(Gatelet):
    def command(self): return [word if word != "1" else "2" for word in super().command()]


def exchange(s, host, more=""):
    s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    response = b""
    while b"\r\n\r\n" not in response: response += s.recv(65536)
    head, body = response.split(b"\r\n\r\n", 1)
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    while len(body) < length: body += s.recv(65536)
    return int(head.split(b" ")[1])


def logins(port, host, end, results):
    """Sends logins at a steady rate. Each has another password, so that none is remembered."""
    statuses, lock = {}, threading.Lock()

    def one(number):
        with socket.create_connection(("127.0.0.1", port)) as s:
            password = base64.b64encode(f"ann:{time.time()} {number}".encode()).decode()
            status = exchange(s, host, f"Authorization: Basic {password}\r\n")
        with lock: statuses[status] = statuses.get(status, 0) + 1

    threads, number = [], 0
    while time.time() < end:
        threads.append(threading.Thread(target=one, args=(number,)))
        threads[-1].start()
        number += 1
        time.sleep(1 / LOGINS)
    for thread in threads: thread.join()
    results.put(statuses)


def latencies(port, seconds):
    times = []
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.time() + seconds
        while time.time() < end:
            began = time.perf_counter()
            assert exchange(s, "bench.example") == 200
            times.append(time.perf_counter() - began)
            time.sleep(1 / REQUESTS)
    return statistics.quantiles(times, n=100)[98] * 1e6


def round_(port, host, seconds):
    """Returns the percentile while logins go to a host, and the numbers of their statuses."""
    results = multiprocessing.Queue()
    sender = multiprocessing.Process(target=logins, args=(port, host, time.time() + seconds + 1, results))
    sender.start()
    time.sleep(0.5)
    percentile = latencies(port, seconds)
    statuses = results.get()
    sender.join()
    return percentile, statuses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gatelet", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args()

    threading.Thread(target=Origins(ORIGIN, Origin).serve_forever, daemon=True).start()
    peer = TwoCores("logins", 9, args.work, args.gatelet, Certs(args.work, 0))
    peer.configure(0, 0)
    process = subprocess.Popen(peer.command(), env=peer.env, stdout=open(peer.dir / "log", "w"), stderr=subprocess.STDOUT)
    try:
        while get(peer.http) == "": time.sleep(0.1)
        peer.loaded()
        # The hash of "secret", cost 10.
        users = base64.b64encode(b"ann:$2y$10$Y0vqmsUEcjbLFT1JlZbU7OcO9QWzPzSAVOJ/1.8pNwaOt2ZkTkEmS\n").decode()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "data": {"auth": users}}
        peer.client.post("/api/v1/namespaces/default/secrets", secret)
        locked = api.ingress("locked", "locked.example", "origin", None)
        locked["metadata"]["annotations"] |= {"nginx.ingress.kubernetes.io/auth-type": "basic", "nginx.ingress.kubernetes.io/auth-secret": "users"}
        peer.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", locked)
        while not get(peer.http, "locked.example").startswith("HTTP/1.1 401"): time.sleep(0.1)

        ratios = []
        for number in range(args.rounds):
            (without, _), (beside, statuses) = (round_(peer.http, host, args.seconds) for host in ("bench.example", "locked.example"))
            ratios.append(beside / without)
            print(f"p99 without logins {without:7.0f} us, with them {beside:7.0f} us, ratio {ratios[-1]:.2f}, responses to logins {statuses}", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__": main()
