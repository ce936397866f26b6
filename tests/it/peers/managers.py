"""Sends random writes of several field managers to an API server, and prints each result.

    managers.py KUBECONFIG SEED WRITES     KUBECONFIG is JSON; the same seed gives the same writes
"""
import base64, http.client, json, os, random, re, ssl, sys, tempfile

seed, writes = int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)


def connect():
    config = json.load(open(sys.argv[1]))
    user = config["users"][0]["user"]
    context = ssl._create_unverified_context()
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("client-certificate-data", "client-key-data")]
        for file in files:
            open(file, "wb").write(base64.b64decode(user[os.path.basename(file)]))
        context.load_cert_chain(*files)
    return http.client.HTTPSConnection(config["clusters"][0]["cluster"]["server"].split("//")[1], context=context)


connection = connect()


def send(method, path, body=None, form="application/json"):
    connection.request(method, path, json.dumps(body), {"Content-Type": form})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def some(items, most):
    return chance.sample(items, chance.randint(0, most))


def metadata():
    made = {"name": "it"}
    if chance.random() < 0.4:
        made["labels"] = {key: chance.choice("12") for key in some("abc", 2)}
    if chance.random() < 0.3:
        made["annotations"] = {key: chance.choice("12") for key in some("xyz", 2)}
    if chance.random() < 0.2:
        made["finalizers"] = [f"example.com/{name}" for name in some("pqr", 3)]
    return made


def config_map():
    made = {"data": {key: chance.choice("123") for key in some("abcd", 3)}}
    if chance.random() < 0.2:
        made["binaryData"] = {"z": chance.choice(["AAEC", "AAED"])}
    return made


def service():
    spec = {"clusterIP": "None", "type": "ClusterIP", "selector": {"app": chance.choice("ab")}, "ports": []}
    for number in chance.sample([80, 81, 82, 83], chance.randint(1, 3)):
        port = {"name": f"p{number}", "port": number}
        if chance.random() < 0.5:
            port["protocol"] = chance.choice(["TCP", "UDP"])
        if chance.random() < 0.5:
            port["targetPort"] = chance.choice([8080, "web"])
        spec["ports"].append(port)
    if chance.random() < 0.2:
        spec["externalIPs"] = some(["192.0.2.1", "192.0.2.2"], 2)
    if chance.random() < 0.2:
        spec["sessionAffinity"] = chance.choice(["None", "ClientIP"])
    return {"spec": spec}


def ingress():
    spec = {"rules": [{"host": chance.choice(["a.example", "b.example"])}], "ingressClassName": chance.choice(["none", "nope"])}
    if chance.random() < 0.3:
        port = chance.choice([{"number": 80}, {"name": "web"}])
        spec["defaultBackend"] = {"service": {"name": chance.choice("ab"), "port": port}}
    if chance.random() < 0.3:
        spec["tls"] = [{"hosts": ["a.example"]}]
    return {"spec": spec}


def lease():
    spec = {"holderIdentity": chance.choice("ab")}
    if chance.random() < 0.5:
        spec["leaseDurationSeconds"] = chance.choice([5, 15])
    if chance.random() < 0.3:
        spec["renewTime"] = "2026-01-02T03:04:05.000006Z"
    return {"spec": spec}


KINDS = [
    ("/api", "v1", "ConfigMap", "configmaps", config_map),
    ("/api", "v1", "Service", "services", service),
    ("/apis", "networking.k8s.io/v1", "Ingress", "ingresses", ingress),
    ("/apis", "coordination.k8s.io/v1", "Lease", "leases", lease),
]
root, version, kind, plural, content = KINDS[seed % len(KINDS)]
namespace = f"managers-{seed}"
send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
one = f"{root}/{version}/namespaces/{namespace}/{plural}/it"


def shown(result):
    """The result without what differs from server to server."""
    code, found = result
    details, metadata = found.get("details") or {}, found.get("metadata", {})
    details.pop("uid", None)
    details.get("causes", []).sort(key=lambda cause: (cause["field"], cause["message"]))
    for member in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"):
        metadata.pop(member, None)
    for entry in metadata.get("managedFields", []):
        entry.pop("time", None)
    metadata.get("managedFields", []).sort(key=lambda e: (e["operation"], e["manager"], e.get("subresource", "")))
    return f"{code} {json.dumps(found, sort_keys=True)}"


VERBS = ["apply"] * 5 + ["force"] * 3 + ["merge"] * 2 + ["strategic", "put", "json", "status", "apply-status", "delete"]
for number in range(writes):
    verb, manager = chance.choice(VERBS), chance.choice(["one", "two", "three", "kubectl"])
    sent = {"apiVersion": version, "kind": kind, "metadata": metadata(), **content()}
    address = chance.choice(["192.0.2.7", "192.0.2.8"])
    path, forms = f"{one}?fieldManager={manager}", "application/{}"
    # A real server answers the apply of a status of an absent Service as if it created one.
    if verb == "apply-status" and send("GET", one)[0] == 404:
        verb = "apply"
    print(number, verb, manager, json.dumps(sent, sort_keys=True))
    if verb in ("apply", "force"):
        result = send("PATCH", f"{path}&force={json.dumps(verb == 'force')}", sent, forms.format("apply-patch+yaml"))
    elif verb in ("merge", "strategic"):
        result = send("PATCH", path, sent, forms.format({"merge": "merge-patch+json"}.get(verb, "strategic-merge-patch+json")))
    elif verb == "put":
        known = send("GET", one)[1]
        result = send("PUT", path, {**sent, "metadata": {**sent["metadata"], **{
            key: value for key, value in known["metadata"].items() if key == "resourceVersion"}}})
    elif verb == "json":
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"j": "1"}}]
        result = send("PATCH", path, patch, forms.format("json-patch+json"))
    elif verb == "delete":
        result = send("DELETE", one)
        send("PATCH", one, {"metadata": {"finalizers": None}}, forms.format("merge-patch+json"))
    else:
        sent["status"] = {"loadBalancer": {"ingress": [{"ip": address}]}}
        form = {"status": "merge-patch+json"}.get(verb, "apply-patch+yaml")
        result = send("PATCH", path.replace("?", "/status?"), sent, forms.format(form))
    print("  ", shown(result))
    print("  ", shown(send("GET", one)))
