//! Shared by the benches: a cluster of many Ingresses, and an allocator that counts.
//!
//! Counts of bytes and allocations are the same on every machine, and differ little between
//! profiles. Times are printed for comparison within one run only.

#![allow(
    unsafe_code,
    reason = "a global allocator cannot be implemented without"
)]
#![allow(dead_code, reason = "each bench uses a part of this module")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gatelet::{
    controller::{Index, Settings, UnsupportedGuards},
    objects::{Event, Kind, RawObject},
};
use serde_json::{Value, json};

/// Allocations, allocated bytes and freed bytes since the start of the process.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, with counters.
struct Counting;

// SAFETY: passes every call on to `System` unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The use of the heap by a piece of code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    /// The number of allocations.
    pub(crate) allocations: u64,
    /// The bytes allocated, including those that were freed again.
    pub(crate) allocated: u64,
    /// The bytes still allocated at the end, without the allocator's own overhead. Negative if more
    /// was freed than allocated.
    pub(crate) kept: i64,
}

/// Runs `work` and returns its result with its use of the heap, over all threads.
pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (T, Heap) {
    let read = || [&ALLOCATIONS, &ALLOCATED, &FREED].map(|counter| counter.load(Ordering::Relaxed));
    let before = read();
    let result = work();
    let after = read();

    let [allocations, allocated, freed] = [0, 1, 2].map(|at| after[at] - before[at]);
    let kept = allocated.cast_signed() - freed.cast_signed();
    let heap = Heap {
        allocations,
        allocated,
        kept,
    };
    (result, heap)
}

/// Returns a compiler that knows the IngressClass of gatelet.
pub(crate) fn index() -> Index {
    let settings = Settings {
        controller: "gatelet.dev/ingress-controller".into(),
        namespace: "gatelet".into(),
        classes: Vec::new(),
        classless: false,
        standalone: false,
        default_backend: None,
        ssl_redirect: true,
        hsts: None,
        node: "node".into(),
        addresses: Vec::new(),
        issuers: [].into(),
        aliases: Default::default(),
        default_issuer: None,
        own_ports: Default::default(),
        tcp_services: None,
        udp_services: None,
        nginx_configmap: None,
        open_ports: vec![gatelet::util::port_range::PortRange::ALL],
        unsupported_guards: UnsupportedGuards::default(),
    };
    let mut index = Index::new(settings, Box::new(|_chain, _key, _pattern| Ok(())));
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": { "name": "gatelet" },
        "spec": { "controller": "gatelet.dev/ingress-controller" },
    });
    index.apply(Event::Apply(object(Kind::IngressClass, &class)));
    index
}

/// Returns all events of `count` hosts, each with an Ingress of two paths, a Service and an
/// EndpointSlice of two endpoints.
pub(crate) fn events(count: usize) -> Vec<Event> {
    let kinds = [ingress, service, slice];
    let objects = (0..count).flat_map(|number| kinds.map(|make| make(number)));
    objects.map(Event::Apply).collect()
}

/// Returns the Ingress of a host.
pub(crate) fn ingress(number: usize) -> Arc<RawObject> {
    annotated(number, &json!({}))
}

/// Returns the same with ten annotations, as Ingresses of nginx have them.
pub(crate) fn ingress_of_nginx(number: usize) -> Arc<RawObject> {
    let annotation = |name: &str, value: &str| {
        let name = format!("nginx.ingress.kubernetes.io/{name}");
        (name, Value::from(value))
    };
    let annotations = [
        annotation("backend-protocol", "HTTP"),
        annotation("cors-allow-origin", "https://shop.example.com"),
        annotation("enable-cors", "true"),
        annotation("limit-rps", "50"),
        annotation("proxy-body-size", "50m"),
        annotation("proxy-read-timeout", "300"),
        annotation("proxy-send-timeout", "300"),
        annotation("rewrite-target", "/"),
        annotation("ssl-redirect", "false"),
        annotation("whitelist-source-range", "10.0.0.0/8, 192.168.0.0/16"),
    ];
    annotated(number, &Value::Object(annotations.into_iter().collect()))
}

fn annotated(number: usize, annotations: &Value) -> Arc<RawObject> {
    let backend = json!({ "service": { "name": name(number), "port": { "number": 80 } } });
    let path = |path| json!({ "path": path, "pathType": "Prefix", "backend": backend });
    let mut metadata = metadata(number, &json!({}));
    metadata["annotations"] = annotations.clone();
    let body = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {
            "ingressClassName": "gatelet",
            "rules": [{
                "host": host(number),
                "http": { "paths": [path("/"), path("/api/v1")] },
            }],
        },
    });
    object(Kind::Ingress, &body)
}

/// Returns the Service of a host.
pub(crate) fn service(number: usize) -> Arc<RawObject> {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(number, &json!({})),
        "spec": {
            "clusterIP": "10.43.0.1",
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
            "selector": { "app": name(number) },
        },
    });
    object(Kind::Service, &body)
}

/// Returns the EndpointSlice of a host.
pub(crate) fn slice(number: usize) -> Arc<RawObject> {
    let endpoint = |last: usize| {
        let address = format!("10.{}.{}.{last}", number / 250, number % 250);
        json!({ "addresses": [address], "conditions": { "ready": true } })
    };
    let labels = json!({ "kubernetes.io/service-name": name(number) });
    let body = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(number, &labels),
        "addressType": "IPv4",
        "endpoints": [endpoint(1), endpoint(2)],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    });
    object(Kind::EndpointSlice, &body)
}

/// Returns the host of an Ingress.
pub(crate) fn host(number: usize) -> String {
    format!("host-{number}.example.com")
}

fn name(number: usize) -> String {
    format!("app-{number}")
}

fn metadata(number: usize, labels: &Value) -> Value {
    json!({
        "name": name(number),
        "namespace": "default",
        "uid": format!("00000000-0000-4000-8000-{number:012}"),
        "resourceVersion": number.to_string(),
        "labels": labels,
    })
}

fn object(kind: Kind, body: &Value) -> Arc<RawObject> {
    let body = Bytes::from(body.to_string());
    Arc::new(RawObject::parse(kind, body).expect("the object is valid"))
}
