"""Configurations and command lines of the proxies that are compared, all doing the same work: route by host, keep upstream
connections alive, set the X-Forwarded-* headers, log nothing."""
import json, os, subprocess, time
from pathlib import Path

ORIGIN = ("127.0.0.1", 17900)
ORIGIN_AT = f"{ORIGIN[0]}:{ORIGIN[1]}"


def hosts(routes):
    return ["bench.example"] + [f"h{i}.bench.example" for i in range(routes)]


class Peer:
    """One proxy: where it listens, how it is configured and started, how an edit is made live."""
    def __init__(self, name, index, work, binary, certs):
        self.name, self.binary, self.certs = name, str(binary), certs
        self.http, self.https = 18000 + index, 18500 + index
        self.dir = Path(work) / name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ)

    def configure(self, routes, with_certs, mark=None): raise NotImplementedError
    def command(self): raise NotImplementedError
    def loaded(self): """Called once it answers; brings the routes in where a file does not."""
    def edit(self, mark, routes, with_certs, process): raise NotImplementedError


class Nginx(Peer):
    def configure(self, routes, with_certs, mark=None):
        d, out = self.dir, []
        out.append(f"daemon off; worker_processes 1; pid {d}/pid; error_log {d}/error.log crit; worker_rlimit_nofile 20000;")
        out.append("events { worker_connections 8192; } http { access_log off; server_tokens off; keepalive_requests 100000000; keepalive_timeout 300s;")
        out.append("server_names_hash_max_size 65536; server_names_hash_bucket_size 128; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:S:4m;")
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"): out.append(f"{kind}_temp_path {d}/{kind};")
        out.append(f"upstream o {{ server {ORIGIN_AT}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 300s; }}")
        out.append('proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; '
                   "proxy_set_header X-Real-Ip $remote_addr; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme; proxy_buffers 16 16k; proxy_buffer_size 16k;")
        names = hosts(routes) + ([mark] if mark else [])
        for i, host in enumerate(names):
            crt, key = self.certs.pair(i if 0 < i <= with_certs else 0)
            out.append(f"server {{ listen 127.0.0.1:{self.http}; listen 127.0.0.1:{self.https} ssl http2; ssl_certificate {crt}; ssl_certificate_key {key}; "
                       f"server_name {host}; location / {{ proxy_pass http://o; }} }}" if i <= with_certs else
                       f"server {{ listen 127.0.0.1:{self.http}; server_name {host}; location / {{ proxy_pass http://o; }} }}")
        # An unknown host must not be served, or an edit could not be told from none.
        out.append(f"server {{ listen 127.0.0.1:{self.http} default_server; return 404; }} }}")
        (d / "nginx.conf").write_text("\n".join(out))

    def command(self): return [self.binary, "-c", f"{self.dir}/nginx.conf", "-e", f"{self.dir}/error.log"]

    def edit(self, mark, routes, with_certs, process):
        self.configure(routes, with_certs, mark)
        process.send_signal(1)


class Haproxy(Peer):
    def configure(self, routes, with_certs, mark=None):
        d = self.dir
        names = hosts(routes) + ([mark] if mark else [])
        (d / "hosts.map").write_text("".join(f"{h} b{i}\n" for i, h in enumerate(names)))
        out = [f"""global
  nbthread 1
  maxconn 9000
  stats socket {d}/sock mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  http-reuse always
frontend f
  bind 127.0.0.1:{self.http}
  bind 127.0.0.1:{self.https} ssl crt {self.certs.haproxy_dir(with_certs)} alpn h2,http/1.1
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-Ip %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
  use_backend %[req.hdr(host),field(1,:),lower,map({d}/hosts.map)]
"""]
        for i in range(len(names)): out.append(f"backend b{i}\n  server o {ORIGIN_AT} pool-max-conn -1\n")
        (d / "haproxy.cfg").write_text("".join(out))
        self.env["LD_LIBRARY_PATH"] = str(Path(self.binary).parent / "lib")

    def command(self): return [self.binary, "-W", "-db", "-f", f"{self.dir}/haproxy.cfg"]

    def edit(self, mark, routes, with_certs, process):
        self.configure(routes, with_certs, mark)
        process.send_signal(12)


class Traefik(Peer):
    def configure(self, routes, with_certs, mark=None):
        d = self.dir
        (d / "dyn").mkdir(exist_ok=True)
        point = lambda port: {"address": f"127.0.0.1:{port}", "transport": {"respondingTimeouts": {"idleTimeout": "300s"}}}
        (d / "traefik.yml").write_text(json.dumps({
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False}, "log": {"level": "ERROR"},
            "entryPoints": {"web": point(self.http), "websecure": point(self.https)}, "serversTransport": {"maxIdleConnsPerHost": 1024},
            "providers": {"providersThrottleDuration": "0s", "file": {"directory": f"{d}/dyn", "watch": True}}}))
        routers, services = {}, {}
        for i, host in enumerate(hosts(routes) + ([mark] if mark else [])):
            services[f"s{i}"] = {"loadBalancer": {"servers": [{"url": f"http://{ORIGIN_AT}"}]}}
            routers[f"r{i}"] = {"rule": f"Host(`{host}`)", "service": f"s{i}", "entryPoints": ["web"]}
            if i <= with_certs: routers[f"t{i}"] = {"rule": f"Host(`{host}`)", "service": f"s{i}", "entryPoints": ["websecure"], "tls": {}}
        pairs = [dict(zip(("certFile", "keyFile"), self.certs.pair(i))) for i in range(with_certs + 1)]
        (d / "dyn.new").write_text(json.dumps({"http": {"routers": routers, "services": services},
                                               "tls": {"certificates": pairs, "stores": {"default": {"defaultCertificate": pairs[0]}}}}))
        os.replace(d / "dyn.new", d / "dyn" / "dyn.yml")
        self.env["GOMAXPROCS"] = "1"

    def command(self): return [self.binary, f"--configFile={self.dir}/traefik.yml"]
    def edit(self, mark, routes, with_certs, process): self.configure(routes, with_certs, mark)


class Gatelet(Peer):
    """Configured as its users do it: objects through its API."""
    def configure(self, routes, with_certs, mark=None):
        subprocess.run(["rm", "-rf", f"{self.dir}/state"], check=True)
        self.routes, self.with_certs, self.api = routes, with_certs, self.http + 1000

    def command(self):
        self.env.update(GATELET_NODE="bench")
        return [self.binary, "run", "--state", f"{self.dir}/state", "--http", f"127.0.0.1:{self.http}", "--https", f"127.0.0.1:{self.https}",
                "--api", f"127.0.0.1:{self.api}", "--admin", f"127.0.0.1:{self.http + 2000}", "--workers", "1"]

    def loaded(self):
        import api
        while not Path(f"{self.dir}/state/kubeconfig").exists(): time.sleep(0.01)
        client = api.Client(self.api, f"{self.dir}/state/kubeconfig")
        client.post("/api/v1/namespaces/default/services", api.service("origin"))
        client.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", api.slice_("origin", ORIGIN[1]))
        for i, host in enumerate(hosts(self.routes)):
            secret = None
            if i <= self.with_certs:
                secret = f"cert{i}"
                client.post("/api/v1/namespaces/default/secrets", api.secret(secret, *self.certs.pair(i)))
            client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", api.ingress(f"r{i}", host, "origin", secret))
        self.client = client

    def edit(self, mark, routes, with_certs, process):
        import api
        self.client.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", api.ingress(mark.split(".")[0], mark, "origin", None))
