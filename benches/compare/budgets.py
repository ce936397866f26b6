#!/usr/bin/env python3
"""Counts what gatelet alone takes: size, memory, disk writes, and how fast an edit through its API is live."""
import argparse, os, re, signal, statistics, subprocess, time
from pathlib import Path
import api
from compare import Certs, Running, get, pss_kib, start_origin
from peers import Gatelet


class FromKubernetes(Gatelet):
    """Serves the objects of another API."""
    def __init__(self, name, index, work, binary, certs, kubeconfig):
        super().__init__(name, index, work, binary, certs)
        self.kubeconfig = kubeconfig

    def configure(self, routes, with_certs, mark=None): pass

    def command(self):
        self.api = 0
        command = super().command()
        command[command.index("--api") + 1] = "off"
        return command + ["--kubeconfig", str(self.kubeconfig)]

    def loaded(self): pass


def written(pid):
    """Bytes that the process caused to be written to storage."""
    return int(re.search(r"write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text()).group(1))


def until_routed(peer):
    """Starts it and waits for the last route. Its endpoints are on another node's loopback, so 503 is the right answer."""
    began = time.time()
    process = subprocess.Popen(peer.command(), env={**peer.env, "GATELET_NODE": "other"}, stdout=open(peer.dir / "log", "w"), stderr=subprocess.STDOUT)
    while not get(peer.http, "h4999.bench.example").startswith("HTTP/1.1 503"):
        if process.poll() is not None or time.time() > began + 120: raise RuntimeError(f"see {peer.dir}/log")
        time.sleep(0.002)
    return process, (time.time() - began) * 1000


def end(process):
    process.send_signal(signal.SIGTERM)
    process.wait()


def main():
    parser = argparse.ArgumentParser()
    for name in ("gatelet", "work"): parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    certs = Certs(args.work, 500)
    origin = start_origin(args.work)
    print(f"binary: {os.path.getsize(args.gatelet) / 1e6:.1f} MB")
    one = Running(Gatelet("budgets", 6, args.work, args.gatelet, certs))
    try:
        time.sleep(2)
        print(f"idle PSS, mini cluster, 1 route: {pss_kib(one.pids()) / 1024:.1f} MB")
        before = written(one.process.pid)
        time.sleep(20)
        print(f"written in 20 idle seconds: {written(one.process.pid) - before} bytes")
        before, client = written(one.process.pid), one.peer.client
        for i in range(100):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{i}"}, "data": {"text": "x" * 2000}}
            client.post("/api/v1/namespaces/default/configmaps", body)
        print(f"written per API write of 2 KB: {(written(one.process.pid) - before) / 100 / 1024:.1f} KiB (100 writes)")
    finally: one.stop()

    one = Running(Gatelet("budgets", 6, args.work, args.gatelet, certs), 5000, 500)
    try:
        time.sleep(2)
        print(f"PSS with 5,000 Ingresses and 500 certificates, mini cluster: {pss_kib(one.pids()) / 1024:.1f} MB")
        times = []
        for i in range(50):
            mark = f"live{i}.bench.example"
            one.peer.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", api.ingress(f"live{i}", mark, "origin", None))
            began = time.time()
            one.wait(lambda: get(one.peer.http, mark).startswith("HTTP/1.1 200"), 10)
            times.append((time.time() - began) * 1000)
        print(f"edit live after the API's answer, 5,000 hosts: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms (50 edits)")
        other = FromKubernetes("budgets-k8s", 7, args.work, args.gatelet, certs, f"{one.peer.dir}/state/kubeconfig")
        subprocess.run(["rm", "-rf", f"{other.dir}/state"], check=True)
        process, took = until_routed(other)
        time.sleep(2)
        print(f"PSS with the same from a Kubernetes API: {pss_kib([process.pid]) / 1024:.1f} MB ({took:.0f} ms from start to all routes)")
        end(process)
        one.stop()
        process, took = until_routed(other)
        print(f"start to all routes from the local copy, that API away: {took:.0f} ms")
        end(process)
    finally: one.stop()
    origin.terminate(); origin.wait()


if __name__ == "__main__":
    main()
