"""A small client of gatelet's API, and the objects that the comparison needs."""
import base64, http.client, json, re, ssl, tempfile
from pathlib import Path


class Client:
    def __init__(self, port, kubeconfig):
        text = Path(kubeconfig).read_text()
        data = lambda key: base64.b64decode(re.search(rf"{key}: *\"?([A-Za-z0-9+/=]+)", text).group(1))
        context = ssl.create_default_context(cadata=data("certificate-authority-data").decode())
        with tempfile.NamedTemporaryFile() as crt, tempfile.NamedTemporaryFile() as key:
            crt.write(data("client-certificate-data")); crt.flush()
            key.write(data("client-key-data")); key.flush()
            context.load_cert_chain(crt.name, key.name)
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201): raise RuntimeError(f"POST {path}: {answer.status} {text[:300]}")


def service(name):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}


def slice_(service, port):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}, "annotations": {"gatelet.dev/connect": "loopback"}},
            "endpoints": [{"addresses": ["192.0.2.1"], "nodeName": "bench"}], "ports": [{"port": port}]}


def secret(name, crt, key):
    b64 = lambda path: base64.b64encode(Path(path).read_bytes()).decode()
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name}, "data": {"tls.crt": b64(crt), "tls.key": b64(key)}}


def ingress(name, host, service, secret):
    spec = {"rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}
    if secret: spec["tls"] = [{"hosts": [host], "secretName": secret}]
    # The peers do not redirect either.
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "annotations": {"gatelet.dev/ssl-redirect": "false"}}, "spec": spec}
