"""The Python client of Kubernetes against an API: kubernetes_client.py KUBECONFIG. Says "done" at the end."""
import sys

from kubernetes import client, config, dynamic, watch

config.load_kube_config(sys.argv[1])
core, networking, discovery = client.CoreV1Api(), client.NetworkingV1Api(), client.DiscoveryV1Api()


def refused(status, call, *arguments):
    try:
        call(*arguments)
    except client.ApiException as error:
        assert error.status == status, error
    else:
        raise AssertionError(f"{call.__name__} was not refused with {status}")


names = {namespace.metadata.name for namespace in core.list_namespace().items}
assert {"default", "kube-system"} <= names, names
assert client.VersionApi().get_code().major == "1"

service = client.V1IngressServiceBackend(name="web", port=client.V1ServiceBackendPort(number=80))
spec = client.V1IngressSpec(default_backend=client.V1IngressBackend(service=service))
ingress = client.V1Ingress(metadata=client.V1ObjectMeta(name="web", labels={"a": "b"}), spec=spec)
made = networking.create_namespaced_ingress("default", ingress)
assert made.spec.ingress_class_name == "gatelet", made
refused(409, networking.create_namespaced_ingress, "default", ingress)

made.metadata.resource_version = None
made.metadata.labels = {"a": "c"}
replaced = networking.replace_namespaced_ingress("web", "default", made)
merged = networking.patch_namespaced_ingress("web", "default", {"metadata": {"labels": {"merged": "yes"}}})
assert merged.metadata.labels == {"a": "c", "merged": "yes"}, merged
operations = [{"op": "remove", "path": "/metadata/labels/merged"}]
assert networking.patch_namespaced_ingress("web", "default", operations).metadata.labels == {"a": "c"}
refused(409, networking.replace_namespaced_ingress, "web", "default", replaced)
ingress.spec.default_backend = None
ingress.metadata.name = "empty"
refused(422, networking.create_namespaced_ingress, "default", ingress)

secret = client.V1Secret(metadata=client.V1ObjectMeta(name="words"), string_data={"x": "y"})
assert core.create_namespaced_secret("default", secret).data == {"x": "eQ=="}
refused(404, core.read_namespaced_secret, "absent", "default")

listed = networking.list_namespaced_ingress("default", label_selector="a=c", limit=1)
assert [one.metadata.name for one in listed.items] == ["web"], listed
version = networking.list_namespaced_ingress("default").metadata.resource_version
networking.delete_namespaced_ingress("web", "default")
seen = watch.Watch().stream(
    networking.list_namespaced_ingress, "default", resource_version=version, timeout_seconds=20
)
event = next(event for event in seen if event["type"] == "DELETED")
assert event["object"].metadata.name == "web", event

for call in (
    core.list_service_for_all_namespaces,
    core.list_config_map_for_all_namespaces,
    core.list_event_for_all_namespaces,
    discovery.list_endpoint_slice_for_all_namespaces,
):
    call()
assert len(core.list_node().items) == 1
assert networking.list_ingress_class().items[0].metadata.name == "gatelet"

secrets = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="Secret")
assert [one.metadata.name for one in secrets.get(namespace="default").items] == ["words"]
print("done")
