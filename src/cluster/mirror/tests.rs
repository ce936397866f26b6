use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;

use super::{desired::MAX_PAIRS, *};
use crate::{
    cluster::Local,
    objects::{Committed, Snapshot, traits::BoxFuture},
};

/// A cluster in memory that counts writes.
struct Counted {
    local: Local,
    writes: AtomicUsize,
    full: AtomicBool,
}

impl Propose for Counted {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Committed, ProposeError>> {
        if self.full.load(Ordering::SeqCst) {
            return Box::pin(async { Err(ProposeError::Unavailable("the disk is full".into())) });
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.local.propose(proposal)
    }
}

impl View for Counted {
    fn get(&self, key: &Key) -> Option<Arc<RawObject>> {
        self.local.get(key)
    }

    fn list(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        self.local.list(kind, namespace)
    }

    fn watch(&self, kind: Kind, from: Revision) -> Result<Box<dyn Watcher>, Expired> {
        self.local.watch(kind, from)
    }

    fn revision(&self) -> Revision {
        self.local.revision()
    }
}

/// A mirror over a cluster in memory.
struct Fixture {
    cluster: Arc<Counted>,
    mirror: Arc<Mirror>,
    reported: Arc<Mutex<Vec<EventNote>>>,
}

impl Fixture {
    fn new() -> Self {
        let local = Local::in_memory().unwrap();
        let cluster = Arc::new(Counted {
            local,
            writes: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        });
        let reported = Arc::new(Mutex::new(Vec::new()));
        let notes = reported.clone();
        let mirror = Mirror {
            propose: cluster.clone(),
            view: cluster.clone(),
            report: Box::new(move |note| notes.lock().unwrap().push(note)),
        };
        Self {
            cluster,
            mirror: Arc::new(mirror),
            reported,
        }
    }

    /// Creates or updates an object.
    async fn put(&self, kind: Kind, mut object: Value) {
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.name().into();
        object["metadata"]["namespace"] = "default".into();
        object["metadata"]["uid"] = format!("uid of the {}", kind.name()).into();
        let key = key(kind, object["metadata"]["name"].as_str().unwrap());
        let body = Bytes::from(object.to_string());
        let op = match self.cluster.get(&key) {
            Some(_known) => Op::Update {
                expected: None,
                body,
            },
            None => Op::Create(body),
        };
        self.cluster
            .local
            .propose(Proposal { key, op })
            .await
            .unwrap();
    }

    async fn delete(&self, kind: Kind, name: &str) {
        let op = Op::Delete { expected: None };
        self.cluster
            .local
            .propose(Proposal {
                key: key(kind, name),
                op,
            })
            .await
            .unwrap();
    }

    /// Writes a Service `web` without a selector and its Endpoints, and mirrors them.
    async fn web(&self, subsets: Value) {
        self.put(
            Kind::Service,
            json!({ "metadata": { "name": "web" }, "spec": {} }),
        )
        .await;
        self.put(
            Kind::Endpoints,
            json!({ "metadata": { "name": "web" }, "subsets": subsets }),
        )
        .await;
        self.reconcile().await;
    }

    async fn reconcile(&self) {
        self.mirror
            .reconcile(&("default".into(), "web".into()))
            .await
            .unwrap();
    }

    fn slices(&self) -> Vec<Value> {
        let slices = self.cluster.list(Kind::EndpointSlice, None).items;
        slices
            .iter()
            .map(|slice| serde_json::from_slice(&slice.body).unwrap())
            .collect()
    }

    /// Returns family, ports and addresses of each slice. `!` marks addresses that are not ready.
    fn shown(&self) -> Vec<String> {
        let mut shown: Vec<String> = self.slices().iter().map(show).collect();
        shown.sort();
        shown
    }

    fn writes(&self) -> usize {
        self.cluster.writes.load(Ordering::SeqCst)
    }
}

fn key(kind: Kind, name: &str) -> Key {
    Key {
        kind,
        namespace: "default".into(),
        name: name.into(),
    }
}

fn show(slice: &Value) -> String {
    let list = |member: &str| slice[member].as_array().unwrap().clone();
    let ports: Vec<String> = list("ports")
        .iter()
        .map(|port| format!("{}:{}", port["name"].as_str().unwrap(), port["port"]))
        .collect();
    let endpoints = list("endpoints");
    let addresses = endpoints.iter().map(|endpoint| {
        let mark = if endpoint["conditions"]["ready"] == true {
            ""
        } else {
            "!"
        };
        format!("{mark}{}", endpoint["addresses"][0].as_str().unwrap())
    });
    let addresses: Vec<String> = addresses.collect();
    format!(
        "{} {} {}",
        slice["addressType"].as_str().unwrap(),
        ports.join(","),
        addresses.join(",")
    )
}

fn http() -> Value {
    json!([{ "name": "http", "port": 80, "protocol": "TCP" }])
}

fn addresses(all: &[&str]) -> Value {
    all.iter().map(|ip| json!({ "ip": ip })).collect()
}

#[tokio::test]
async fn endpoints_become_a_slice_with_labels_and_an_owner() {
    let fixture = Fixture::new();
    fixture
        .put(
            Kind::Service,
            json!({ "metadata": { "name": "web" }, "spec": {} }),
        )
        .await;
    let node = json!({
        "ip": "192.0.2.1",
        "hostname": "one",
        "nodeName": "n",
        "targetRef": { "kind": "Node" },
    });
    let port = json!({ "name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http" });
    let metadata = json!({
        "name": "web",
        "labels": { "app": "web", MANAGED_BY: "me" },
        "annotations": { "example.com/note": "kept", OWN: "not kept", TRIGGER: "not kept" },
    });
    let endpoints =
        json!({ "metadata": metadata, "subsets": [{ "addresses": [node], "ports": [port] }] });
    fixture.put(Kind::Endpoints, endpoints).await;
    fixture.reconcile().await;

    let mut slice = fixture.slices().remove(0);
    let metadata = slice["metadata"].as_object_mut().unwrap();
    let name = metadata["name"].as_str().unwrap().to_owned();
    assert!(
        name.starts_with("web-") && name.len() == "web-".len() + 5,
        "{name}"
    );
    for made in ["name", "uid", "creationTimestamp", "resourceVersion"] {
        assert!(metadata.remove(made).is_some(), "{made}");
    }
    let owner = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "name": "web",
        "uid": "uid of the Endpoints",
        "controller": true,
        "blockOwnerDeletion": true,
    });
    let expected = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": "web-",
            "namespace": "default",
            "generation": 1,
            "labels": { "app": "web", SERVICE_NAME: "web", MANAGED_BY: CONTROLLER },
            "annotations": { "example.com/note": "kept" },
            "ownerReferences": [owner],
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": ["192.0.2.1"],
            "conditions": { "ready": true },
            "hostname": "one",
            "nodeName": "n",
            "targetRef": { "kind": "Node" },
        }],
        "ports": [port],
    });
    assert_eq!(slice, expected);
}

const OWN: &str = "kubectl.kubernetes.io/last-applied-configuration";
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

#[tokio::test]
async fn families_and_sets_of_ports_have_slices_of_their_own() {
    let fixture = Fixture::new();
    let other = json!([{ "name": "other", "port": 81, "protocol": "TCP" }]);
    let both = json!([
        { "addresses": addresses(&["192.0.2.2", "2001:db8::1", "192.0.2.1"]), "ports": http() },
        { "addresses": addresses(&["192.0.2.9"]), "ports": other },
        { "addresses": addresses(&["192.0.2.8"]) },
    ]);
    fixture.web(both).await;
    assert_eq!(
        fixture.shown(),
        [
            "IPv4  192.0.2.8",
            "IPv4 http:80 192.0.2.1,192.0.2.2",
            "IPv4 other:81 192.0.2.9",
            "IPv6 http:80 2001:db8::1",
        ]
    );
}

#[tokio::test]
async fn an_address_of_two_subsets_is_in_one_slice_with_both_ports() {
    let fixture = Fixture::new();
    let other = json!([{ "name": "other", "port": 81, "protocol": "TCP" }]);
    let split = json!([
        { "addresses": addresses(&["192.0.2.1"]), "ports": http() },
        { "addresses": addresses(&["192.0.2.1"]), "ports": other },
    ]);
    fixture.web(split).await;
    assert_eq!(fixture.shown(), ["IPv4 http:80,other:81 192.0.2.1"]);
}

#[tokio::test]
async fn an_address_that_is_not_ready_anywhere_is_not_ready() {
    let fixture = Fixture::new();
    let subsets = json!([
        { "addresses": addresses(&["192.0.2.1", "192.0.2.2"]), "ports": http() },
        { "notReadyAddresses": addresses(&["192.0.2.1", "192.0.2.3"]), "ports": http() },
    ]);
    fixture.web(subsets).await;
    assert_eq!(
        fixture.shown(),
        ["IPv4 http:80 192.0.2.2,!192.0.2.1,!192.0.2.3"]
    );
}

#[tokio::test]
async fn unchanged_slices_are_not_written_again() {
    let fixture = Fixture::new();
    let subset = |ips: &[&str]| json!([{ "addresses": addresses(ips), "ports": http() }]);
    fixture
        .web(subset(&["192.0.2.2", "192.0.2.1", "2001:db8::1"]))
        .await;
    assert_eq!(fixture.writes(), 2);
    fixture.reconcile().await;
    fixture
        .web(subset(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]))
        .await;
    assert_eq!(fixture.writes(), 2, "another order is no change");
}

#[tokio::test]
async fn a_change_is_written_into_the_existing_slice() {
    let fixture = Fixture::new();
    let subsets = |ip: &str, port: u16| {
        let ports = json!([{ "name": "", "port": port, "protocol": "TCP" }]);
        json!([{ "addresses": addresses(&[ip]), "ports": ports }])
    };
    fixture.web(subsets("192.0.2.1", 80)).await;
    let name = fixture.slices()[0]["metadata"]["name"].clone();
    for (step, (ip, port)) in [("192.0.2.2", 80), ("192.0.2.2", 81)]
        .into_iter()
        .enumerate()
    {
        fixture.web(subsets(ip, port)).await;
        let slices = fixture.slices();
        assert_eq!(show(&slices[0]), format!("IPv4 :{port} {ip}"));
        assert_eq!((&slices[0]["metadata"]["name"], slices.len()), (&name, 1));
        assert_eq!(slices[0]["metadata"]["generation"], step + 2);
    }
    assert_eq!(fixture.writes(), 3);
}

#[tokio::test]
async fn refused_writes_are_retried() {
    let fixture = Fixture::new();
    fixture.cluster.full.store(true, Ordering::SeqCst);
    let subsets = json!([{ "addresses": addresses(&["192.0.2.1"]), "ports": http() }]);
    fixture
        .put(
            Kind::Service,
            json!({ "metadata": { "name": "web" }, "spec": {} }),
        )
        .await;
    fixture
        .put(
            Kind::Endpoints,
            json!({ "metadata": { "name": "web" }, "subsets": subsets }),
        )
        .await;
    let failed = fixture.mirror.reconcile_all(fixture.mirror.names()).await;
    assert_eq!(failed, [("default".into(), "web".into())].into());

    fixture.cluster.full.store(false, Ordering::SeqCst);
    assert!(fixture.mirror.reconcile_all(failed).await.is_empty());
    assert_eq!(fixture.shown(), ["IPv4 http:80 192.0.2.1"]);
}

#[tokio::test]
async fn edits_of_a_mirrored_slice_are_undone() {
    let fixture = Fixture::new();
    fixture
        .web(json!([{ "addresses": addresses(&["192.0.2.1"]), "ports": http() }]))
        .await;

    let mut slice = fixture.slices().remove(0);
    let made = slice["metadata"]["labels"].clone();
    slice["metadata"]["labels"]["extra"] = "x".into();
    slice["endpoints"] = json!([]);
    slice["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let name = slice["metadata"]["name"].as_str().unwrap().to_owned();
    let op = Op::Update {
        expected: None,
        body: Bytes::from(slice.to_string()),
    };
    let made_by_hand = Proposal {
        key: key(Kind::EndpointSlice, &name),
        op,
    };
    fixture.cluster.local.propose(made_by_hand).await.unwrap();

    fixture.reconcile().await;
    assert_eq!(fixture.shown(), ["IPv4 http:80 192.0.2.1"]);
    assert_eq!(fixture.slices()[0]["metadata"]["labels"], made);
}

#[tokio::test]
async fn slices_are_deleted_when_endpoints_are_no_longer_mirrored() {
    let subsets =
        json!([{ "addresses": addresses(&["192.0.2.1", "2001:db8::1"]), "ports": http() }]);
    let marked = |metadata: Value| json!({ "metadata": metadata, "subsets": subsets });
    let label = marked(json!({ "name": "web", "labels": { SKIP: "true" } }));
    let lock = marked(json!({ "name": "web", "annotations": { LOCK: "{}" } }));
    let selecting =
        json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" } } });

    for (kind, other) in [
        (Kind::Endpoints, label),
        (Kind::Endpoints, lock),
        (Kind::Service, selecting),
    ] {
        let fixture = Fixture::new();
        fixture.web(subsets.clone()).await;
        assert_eq!(fixture.slices().len(), 2);
        fixture.put(kind, other).await;
        fixture.reconcile().await;
        assert_eq!(fixture.shown(), Vec::<String>::new());
    }

    for kind in [Kind::Endpoints, Kind::Service] {
        let fixture = Fixture::new();
        fixture.web(subsets.clone()).await;
        fixture.delete(kind, "web").await;
        fixture.reconcile().await;
        assert_eq!(fixture.shown(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn slices_of_other_writers_are_left_alone() {
    let fixture = Fixture::new();
    let by_hand = json!({
        "metadata": { "name": "web-1", "labels": { SERVICE_NAME: "web" } },
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [],
    });
    fixture.put(Kind::EndpointSlice, by_hand).await;
    fixture
        .web(json!([{ "addresses": addresses(&["192.0.2.1"]), "ports": http() }]))
        .await;
    assert_eq!(fixture.slices().len(), 2);

    fixture.delete(Kind::Endpoints, "web").await;
    fixture.reconcile().await;
    assert_eq!(fixture.slices()[0]["metadata"]["name"], "web-1");
}

#[tokio::test]
async fn addresses_beyond_a_thousand_are_skipped_and_reported() {
    let fixture = Fixture::new();
    let many: Vec<String> = (0..1003)
        .map(|number| format!("10.0.{}.{}", number / 250, number % 250 + 1))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    fixture
        .web(json!([{ "addresses": addresses(&many), "ports": http() }]))
        .await;
    assert_eq!(
        fixture.slices()[0]["endpoints"].as_array().unwrap().len(),
        1000
    );
    fixture.reconcile().await;

    let reported = fixture.reported.lock().unwrap();
    assert_eq!(reported.len(), 1, "it is reported once");
    assert_eq!(reported[0].reason, "TooManyAddressesToMirror");
    assert!(
        reported[0].message.ends_with(" 3 addresses were skipped"),
        "{}",
        reported[0].message
    );
}

#[tokio::test]
async fn many_ports_of_many_addresses_take_no_memory() {
    let fixture = Fixture::new();
    let many: Vec<String> = (0..1000)
        .map(|number| format!("10.0.{}.{}", number / 250, number % 250 + 1))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let port =
        |number: i32| json!({ "name": format!("p{number}"), "port": number, "protocol": "TCP" });
    let ports: Value = (1..=2000).map(port).collect();
    fixture
        .web(json!([{ "addresses": addresses(&many), "ports": ports }]))
        .await;
    let mirrored: usize = fixture
        .slices()
        .iter()
        .map(|slice| slice["endpoints"].as_array().unwrap().len())
        .sum();
    assert_eq!(mirrored, MAX_PAIRS / 2000);
    assert_eq!(fixture.reported.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_running_mirror_follows_every_kind_that_matters() {
    let fixture = Fixture::new();
    let mirror = fixture.mirror.clone();
    let running = tokio::spawn(async move { mirror.follow().await });
    let mut seen = fixture
        .cluster
        .watch(Kind::EndpointSlice, Revision(0))
        .unwrap();
    let subsets = json!([{ "addresses": addresses(&["192.0.2.1"]), "ports": http() }]);
    fixture
        .put(
            Kind::Endpoints,
            json!({ "metadata": { "name": "web" }, "subsets": subsets }),
        )
        .await;
    fixture
        .put(
            Kind::Service,
            json!({ "metadata": { "name": "web" }, "spec": {} }),
        )
        .await;
    let made = seen.next().await.unwrap();
    assert!(!made.deleted);

    // A slice that was deleted by hand is created again.
    fixture
        .delete(Kind::EndpointSlice, &made.object.key.name)
        .await;
    assert!(seen.next().await.unwrap().deleted);
    assert!(!seen.next().await.unwrap().deleted);

    // The Endpoints of a deleted Service are deleted too.
    let mut endpoints = fixture
        .cluster
        .watch(Kind::Endpoints, fixture.cluster.revision())
        .unwrap();
    fixture.delete(Kind::Service, "web").await;
    assert!(endpoints.next().await.unwrap().deleted);
    assert!(seen.next().await.unwrap().deleted);
    running.abort();
}

#[test]
fn objects_with_finalizers_are_marked_and_not_deleted() {
    let object = |metadata: Value| {
        let body = json!({ "metadata": metadata });
        RawObject::parse(Kind::Endpoints, Bytes::from(body.to_string())).unwrap()
    };
    assert!(matches!(
        removal(&object(json!({ "name": "web" }))),
        Op::Delete { .. }
    ));
    let Op::Update { body, .. } =
        removal(&object(json!({ "name": "web", "finalizers": ["a.b/c"] })))
    else {
        panic!("it is updated");
    };
    assert!(
        RawObject::parse(Kind::Endpoints, body)
            .unwrap()
            .meta
            .deletion_timestamp
            .ends_with('Z')
    );
}
