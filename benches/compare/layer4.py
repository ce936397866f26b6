#!/usr/bin/env python3
"""Measures ports of layer 4 beside HAProxy (TCP) and nginx (UDP): CPU time of the proxy, which has a core of its own, and memory."""
import argparse, asyncio, json, multiprocessing, os, socket, statistics, subprocess, sys, time
from pathlib import Path
import api
from compare import CPU_LOAD, CPU_PROXY, Certs, cpu_seconds, pss_kib, tree
from peers import Gatelet

ECHO, IPERF = 17910, 17911
PORTS = {"gatelet": (17920, 17921), "haproxy": (17930, 17931), "nginx": (17940, 17941)}
SESSIONS = 2000


def echo():
    """Sends back what comes, by TCP and UDP."""
    os.sched_setaffinity(0, {int(CPU_LOAD)})

    class Tcp(asyncio.Protocol):
        def connection_made(self, transport): self.transport = transport
        def data_received(self, data): self.transport.write(data)

    class Udp(asyncio.DatagramProtocol):
        def connection_made(self, transport): self.transport = transport
        def datagram_received(self, data, address): self.transport.sendto(data, address)

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Tcp, "127.0.0.1", ECHO, backlog=1024)
        await loop.create_datagram_endpoint(Udp, ("127.0.0.1", ECHO))
        await server.serve_forever()

    asyncio.run(run())


def haproxy(binary, work):
    echo_port, iperf_port = PORTS["haproxy"]
    listen = lambda name, port, to: f"listen {name}\n  bind 127.0.0.1:{port}\n  server o 127.0.0.1:{to}\n"
    config = work / "haproxy.cfg"
    config.write_text("global\n  nbthread 1\n  maxconn 9000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
                      + listen("echo", echo_port, ECHO) + listen("iperf", iperf_port, IPERF))
    env = dict(os.environ, LD_LIBRARY_PATH=str(Path(binary).parent / "lib"))
    return [binary, "-db", "-f", str(config)], env


def nginx(work):
    config = work / "nginx.conf"
    config.write_text(f"""load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1; daemon off; pid {work}/nginx.pid; error_log /dev/null; events {{ worker_connections 9000; }}
stream {{ server {{ listen 127.0.0.1:{PORTS["nginx"][0]} udp; proxy_pass 127.0.0.1:{ECHO}; proxy_timeout 120s; }} }}""")
    return ["nginx", "-c", str(config)], os.environ


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


def iperf(port, *flags):
    subprocess.run(["taskset", "-c", CPU_LOAD, "iperf3", "-c", "127.0.0.1", "-p", str(port), "-n", "2G", *flags], check=True, capture_output=True)


def connections(port, count=3000):
    for _ in range(count): ask(port)


def datagrams(port, count=20000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect(("127.0.0.1", port))
        for _ in range(count):
            s.send(b"x" * 100)
            s.recv(200)


def idle(pid, port):
    """Returns the memory of idle sessions in KB each."""
    pids = tree(pid)
    before, held = pss_kib(pids), []
    for _ in range(SESSIONS):
        s = socket.create_connection(("127.0.0.1", port), timeout=10)
        s.sendall(b"x")
        s.recv(1)
        held.append(s)
    time.sleep(1)
    grown = (pss_kib(pids) - before) / SESSIONS
    for s in held: s.close()
    time.sleep(1)
    return grown


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gatelet", required=True)
    parser.add_argument("--haproxy", default="haproxy")
    parser.add_argument("--work", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)

    peer = Gatelet("layer4", 8, args.work, args.gatelet, Certs(args.work, 1))
    peer.configure(0, 0)
    commands = {"gatelet": (peer.command(), peer.env), "haproxy": haproxy(args.haproxy, work), "nginx": nginx(work)}
    origin = multiprocessing.Process(target=echo, daemon=True)
    origin.start()
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

        rows = [("CPU per GB, TCP", "s", ("gatelet", "haproxy"), lambda pid, ports: cost(pid, lambda: iperf(ports[1])) / 2),
                ("the same, to the client", "s", ("gatelet", "haproxy"), lambda pid, ports: cost(pid, lambda: iperf(ports[1], "-R")) / 2),
                ("CPU per TCP connection of 100 bytes", "us", ("gatelet", "haproxy"), lambda pid, ports: cost(pid, lambda: connections(ports[0])) / 3000 * 1e6),
                ("memory per idle TCP connection", "KB", ("gatelet", "haproxy"), lambda pid, ports: idle(pid, ports[0])),
                ("CPU per datagram there and back, UDP", "us", ("gatelet", "nginx"), lambda pid, ports: cost(pid, lambda: datagrams(ports[0])) / 20000 * 1e6)]
        for what, unit, names, measure in rows:
            # Memory that was freed is used again, so only the first round shows what sessions take.
            count = 1 if unit == "KB" else args.rounds
            rounds = [[measure(running[name].pid, PORTS[name]) for name in names] for _ in range(count)]
            ours, theirs = [statistics.median(column) for column in zip(*rounds)]
            ratio = statistics.median(a / b for a, b in rounds)
            print(f"{what:45} {ours:8.3f} {unit:3} {names[1]} {theirs:8.3f}   ratio {ratio:.2f}", flush=True)
    finally:
        for process in [*running.values(), measured]: process.terminate()
        origin.terminate()


if __name__ == "__main__": main()
