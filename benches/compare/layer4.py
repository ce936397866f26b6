#!/usr/bin/env python3
"""Measures ports of layer 4 beside HAProxy (TCP) and nginx (UDP): CPU time of the proxy, which has a core of its own, system calls, and memory."""
import argparse, asyncio, multiprocessing, os, re, shutil, socket, statistics, struct, subprocess, time
from pathlib import Path
import api
from compare import CPU_LOAD, CPU_PROXY, Certs, cpu_seconds, pss_kib, tree
from peers import Gatelet

ECHO, IPERF = 17910, 17911
PORTS = {"gatelet": (17920, 17921), "haproxy": (17930, 17931), "nginx": (17940, 17941)}
UDP_SEGMENT, UDP_GRO = 103, 104
DATAGRAMS = 20480


def echo():
    """Sends back what comes by TCP."""
    os.sched_setaffinity(0, {int(CPU_LOAD)})

    class Tcp(asyncio.Protocol):
        def connection_made(self, transport): self.transport = transport
        def data_received(self, data): self.transport.write(data)

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Tcp, "127.0.0.1", ECHO, backlog=1024)
        await server.serve_forever()

    asyncio.run(run())


def bounce():
    """Sends back what comes by UDP, and in one piece what comes so, as a server of QUIC does."""
    os.sched_setaffinity(0, {int(CPU_LOAD)})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        s.bind(("127.0.0.1", ECHO))
        while True:
            data, told, _, client = s.recvmsg(65536, 64)
            lengths = [struct.unpack("i", value)[0] for _, kind, value in told if kind == UDP_GRO]
            s.sendmsg([data], segments(lengths[0]) if lengths and lengths[0] < len(data) else [], 0, client)


def haproxy(binary, work):
    echo_port, iperf_port = PORTS["haproxy"]
    listen = lambda name, port, to: f"listen {name}\n  bind 127.0.0.1:{port}\n  server o 127.0.0.1:{to}\n"
    config = work / "haproxy.cfg"
    config.write_text("global\n  nbthread 1\n  maxconn 9900\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
                      + listen("echo", echo_port, ECHO) + listen("iperf", iperf_port, IPERF))
    env = dict(os.environ, LD_LIBRARY_PATH=str(Path(binary).parent / "lib"))
    return [binary, "-db", "-f", str(config)], env


def nginx(binary, module, work):
    config = work / "nginx.conf"
    config.write_text(f"""load_module {module};
worker_processes 1; daemon off; pid {work}/nginx.pid; error_log /dev/null; events {{ worker_connections 9000; }}
stream {{ server {{ listen 127.0.0.1:{PORTS["nginx"][0]} udp; proxy_pass 127.0.0.1:{ECHO}; proxy_timeout 120s; }} }}""")
    return [binary, "-c", str(config), "-e", "/dev/null"], os.environ


def gatelet_ports(peer):
    """Opens the ports of gatelet through its API."""
    peer.loaded()
    echo_port, iperf_port = PORTS["gatelet"]
    for name, port, to in [("echo", echo_port, ECHO), ("iperf", iperf_port, IPERF)]:
        service = api.service(name)
        service["metadata"]["annotations"] = {"gatelet.dev/tcp-listen": f"{port}:80", "gatelet.dev/udp-listen": f"{port}:53"}
        service["spec"]["ports"] = [{"name": "tcp", "port": 80}, {"name": "udp", "port": 53, "protocol": "UDP"}]
        peer.client.post("/api/v1/namespaces/default/services", service)
        slice_ = api.slice_(name, to)
        slice_["ports"] = [{"name": "tcp", "port": to}, {"name": "udp", "port": to, "protocol": "UDP"}]
        peer.client.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)


def ask(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"x" * 100)
        return len(s.recv(100))


def wait(port):
    end = time.time() + 60
    while True:
        try:
            if ask(port): return
        except OSError: pass
        if time.time() > end: raise RuntimeError(f"port {port} does not answer")
        time.sleep(0.05)


def cost(pid, work):
    """Returns the CPU seconds of a process while something is done."""
    pids = tree(pid)
    before = cpu_seconds(pids)
    work()
    return cpu_seconds(pids) - before


def calls(pid, work):
    """Returns the system calls of a process while something is done; 0 without `perf`."""
    if not shutil.which("perf"): return 0
    perf = subprocess.Popen(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, tree(pid)))], stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    work()
    perf.send_signal(2)
    counted = re.search(r"^(\d+),", perf.communicate()[1], re.M)
    return int(counted.group(1)) if counted else 0


def iperf(port, *flags):
    subprocess.run(["taskset", "-c", CPU_LOAD, "iperf3", "-c", "127.0.0.1", "-p", str(port), "-n", "2G", *flags], check=True, capture_output=True)


def connections(port, count=3000):
    for _ in range(count): ask(port)


def client(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.settimeout(0.5)
    s.connect(("127.0.0.1", port))
    return s


def receive(s, count):
    """Receives so many datagrams. Returns how many did not come."""
    for missing in range(count, 0, -1):
        try: s.recv(65536)
        except TimeoutError: return missing
    return 0


def one_by_one(port, count=DATAGRAMS):
    """One client that waits for each answer."""
    with client(port) as s:
        for _ in range(count):
            s.send(b"x" * 100)
            receive(s, 1)


def crowd(port, count=DATAGRAMS, clients=64, window=4):
    """Many clients that send without waiting."""
    sockets, lost = [client(port) for _ in range(clients)], 0
    for s in sockets: s.send(b"x")
    for s in sockets: receive(s, 1)
    for _ in range(count // clients // window):
        for _ in range(window):
            for s in sockets: s.send(b"x" * 100)
        for s in sockets: lost += receive(s, window)
    for s in sockets: s.close()
    if lost > count / 100: print(f"NOTE: {lost} of {count} datagrams were lost", flush=True)


def segments(length):
    return [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("H", length))]


def stream(port, count=DATAGRAMS, window=32):
    """One client that sends large datagrams in a row, as one of QUIC does."""
    length, lost = 1200, 0
    with client(port) as s:
        s.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        for _ in range(count // window):
            s.sendmsg([b"x" * length * window], segments(length))
            missing = length * window
            try:
                while missing > 0: missing -= len(s.recv(65536))
            except TimeoutError: lost += missing // length
    if lost > count / 100: print(f"NOTE: {lost} of {count} datagrams were lost", flush=True)


def resolvers(port, count=DATAGRAMS // 4):
    """A new client for each question, as those of DNS."""
    for _ in range(count):
        with client(port) as s:
            s.send(b"x" * 40)
            receive(s, 1)


def idle(pid, port, count):
    """Returns the memory of this many idle sessions in KB each."""
    pids = tree(pid)
    before, held = pss_kib(pids), []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port), timeout=10)
        s.sendall(b"x")
        s.recv(1)
        held.append(s)
    time.sleep(1)
    grown = (pss_kib(pids) - before) / count
    for s in held: s.close()
    time.sleep(1)
    return grown


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gatelet", required=True)
    parser.add_argument("--haproxy", default="haproxy")
    parser.add_argument("--nginx", default="nginx")
    parser.add_argument("--stream", default="/usr/lib/nginx/modules/ngx_stream_module.so")
    parser.add_argument("--only", default="")
    parser.add_argument("--work", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=2000, help="idle ones; a proxy needs two open files for each")
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)

    peer = Gatelet("layer4", 8, args.work, args.gatelet, Certs(args.work, 1))
    peer.configure(0, 0)
    commands = {"gatelet": (peer.command(), peer.env), "haproxy": haproxy(args.haproxy, work), "nginx": nginx(args.nginx, args.stream, work)}
    origins = [multiprocessing.Process(target=target, daemon=True) for target in (echo, bounce)]
    for origin in origins: origin.start()
    measured = subprocess.Popen(["taskset", "-c", CPU_LOAD, "iperf3", "-s", "-B", "127.0.0.1", "-p", str(IPERF)], stdout=subprocess.DEVNULL)
    running = {}
    os.sched_setaffinity(0, {int(CPU_LOAD)})
    try:
        for name, (command, env) in commands.items():
            log = open(work / f"{name}.log", "w")
            running[name] = subprocess.Popen(["taskset", "-c", CPU_PROXY] + command, env=env, stdout=log, stderr=log)
        gatelet_ports(peer)
        for name in ("gatelet", "haproxy"): wait(PORTS[name][0])
        time.sleep(1)

        tcp, udp = ("gatelet", "haproxy"), ("gatelet", "nginx")
        per = lambda work, count: lambda pid, ports: cost(pid, lambda: work(ports[0])) / count * 1e6
        counted = lambda work, count: lambda pid, ports: calls(pid, lambda: work(ports[0])) / count
        rows = [("CPU per GB, TCP", "s", tcp, lambda pid, ports: cost(pid, lambda: iperf(ports[1])) / 2),
                ("the same, to the client", "s", tcp, lambda pid, ports: cost(pid, lambda: iperf(ports[1], "-R")) / 2),
                ("CPU per TCP connection of 100 bytes", "us", tcp, per(connections, 3000)),
                ("memory per idle TCP connection", "KB", tcp, lambda pid, ports: idle(pid, ports[0], args.sessions))]
        for what, work, count in [("one client", one_by_one, DATAGRAMS), ("64 clients", crowd, DATAGRAMS), ("a row of 1,200 bytes each", stream, DATAGRAMS),
                                  ("a client for each", resolvers, DATAGRAMS // 4)]:
            rows.append((f"CPU per datagram and answer, {what}", "us", udp, per(work, count)))
            rows.append((f"calls per datagram and answer, {what}", "", udp, counted(work, count)))
        for what, unit, names, measure in rows:
            if args.only not in what: continue
            # Memory that was freed is used again, so only the first round shows what sessions take.
            count = 1 if unit in ("KB", "") else args.rounds
            rounds = [[measure(running[name].pid, PORTS[name]) for name in names] for _ in range(count)]
            ours, theirs = [statistics.median(column) for column in zip(*rounds)]
            ratio = statistics.median(a / b if b else 0 for a, b in rounds)
            print(f"{what:55} {ours:8.3f} {unit:3} {names[1]} {theirs:8.3f}   ratio {ratio:.2f}", flush=True)
    finally:
        for process in [*running.values(), measured]: process.terminate()
        for origin in origins: origin.terminate()


if __name__ == "__main__": main()
