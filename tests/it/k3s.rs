//! `configs/k3s/gatelet.yaml` on a real control plane, and gatelet as its pod would run: the same
//! arguments, user and system controls, a read-only root, and the token of its ServiceAccount as
//! the only right.

mod pod;
mod upgrade;

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use self::pod::{Pod, backend_service, start_backend};

use super::support::{
    Certificate, Folder, certificates, control_plane::ControlPlane, eventually, run, said,
};

const ACCOUNT: &str = "system:serviceaccount:gatelet:gatelet";
/// An address of the test's namespace, like that of a pod.
const POD: &str = "10.244.0.5";
/// An address where nothing is.
const LOST: &str = "10.244.0.6";

fn manifest() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/configs/k3s/gatelet.yaml")
}

fn json(real: &ControlPlane, arguments: &[&str]) -> Value {
    serde_json::from_str(&real.kubectl(&[arguments, &["-o", "json"]].concat())).expect("JSON")
}

#[test]
fn the_manifest_is_all_that_gatelet_needs_and_no_more() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let folder = Folder::new();
    let _backend = start_backend(&real, &folder);
    real.kubectl(&["apply", "-f", manifest()]);
    let again = real.kubectl(&["apply", "-f", manifest()]);
    assert!(
        again.lines().all(|line| line.ends_with(" unchanged")),
        "{again}"
    );
    let template =
        json(&real, &["-n", "gatelet", "get", "daemonset", "gatelet"])["spec"]["template"]["spec"]
            .take();
    let pod = Pod::start(&real, &template);

    let certificate = Certificate::make(&folder, "web", &["k3s.example.com"], certificates::ECDSA);
    let (secret, web) = (certificate.secret("web"), backend_service("web", ""));
    real.apply(&format!(
        "{secret}
{web}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  ingressClassName: gatelet
  tls: [{{hosts: [k3s.example.com], secretName: web}}]
  rules:
    - host: k3s.example.com
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: \
      {{number: 80}}}}}}}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: own, annotations: {{gatelet.dev/issuer: self-signed}}}}
spec:
  ingressClassName: gatelet
  tls: [{{hosts: [own.example.com], secretName: own}}]
  rules:
    - host: own.example.com
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: \
      {{number: 80}}}}}}}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: wrong}}
spec:
  ingressClassName: gatelet
  defaultBackend: {{service: {{name: nowhere, port: {{number: 80}}}}}}
"
    ));
    // HTTPS has the certificate of the Secret, and plain HTTP is redirected to the node's port.
    let mut curl = Command::new("curl");
    curl.args([
        "-sSL",
        "-m",
        "20",
        "--connect-to",
        &format!("::{POD}:"),
        "http://k3s.example.com/",
    ]);
    curl.arg("--cacert").arg(&certificate.chain);
    let curl = || real.beside(&curl).output().expect("curl");
    eventually("the Ingress is served", || {
        (curl().stdout == b"the backend\n").then_some(())
    });
    for name in ["web", "wrong"] {
        eventually("the Ingress has its address", || {
            let status = json(&real, &["get", "ingress", name])["status"].take();
            (status["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.10").then_some(())
        });
    }
    // The certificate that gatelet obtained is in its Secret, and the Secret of another writer is
    // unchanged.
    let written = eventually("the Secret is written", || {
        let all =
            json(&real, &["get", "secrets", "-l", "gatelet.dev/managed=true"])["items"].take();
        all.as_array().filter(|all| !all.is_empty()).cloned()
    });
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(
        (&written[0]["metadata"]["name"], &written[0]["type"]),
        (&"own".into(), &"kubernetes.io/tls".into())
    );

    let events = || {
        json(
            &real,
            &[
                "get",
                "events",
                "--field-selector=involvedObject.name=wrong",
            ],
        )["items"]
            .take()
    };
    eventually("the finding has an Event", || {
        (events()[0]["count"] == 1).then_some(())
    });
    assert!(
        events()[0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("nowhere")),
        "{}",
        events()
    );
    assert_eq!(events()[0]["source"]["host"], "node1");
    assert!(
        !pod.log().contains("forbidden") && !pod.log().contains("not written"),
        "{}",
        pod.log()
    );

    // The kubelet makes the folder accessible to everyone; the files that gatelet puts there are
    // not.
    let state = format!("/proc/{}/root/var/lib/gatelet", pod.child.id());
    let open = run(Command::new("find").args([
        &state,
        "-mindepth",
        "1",
        "-maxdepth",
        "1",
        "-perm",
        "/077",
        "-printf",
        "%f",
    ]));
    assert_eq!(open, "ca.pem");

    // The next pod reports that the finding still holds.
    let before = events();
    drop(pod);
    let pod = Pod::start(&real, &template);
    eventually("the Event goes on", || {
        (events()[0]["lastTimestamp"] != before[0]["lastTimestamp"]).then_some(())
    });
    assert_eq!(events()[0]["count"], 1);
    assert_eq!(curl().stdout, b"the backend\n");

    let with = |more: &[&'static str]| {
        let mut rows = [&EVERYWHERE[..], more].concat();
        rows.retain(|row| more.is_empty() || *row != "secrets [] [] [list watch]");
        rows.sort_unstable();
        rows
    };
    allowed(
        &real,
        "default",
        &with(&["secrets [] [] [create get list patch watch]"]),
    );
    refused(&real, &pod);
    // The manifest describes this for operators who create all Secrets by other means.
    real.kubectl(&[
        "delete",
        "clusterrole,clusterrolebinding",
        "gatelet-certificates",
    ]);
    allowed(&real, "default", &EVERYWHERE);
    let own = [
        "leases.coordination.k8s.io [] [] [create delete get list update]",
        "secrets [] [] [create list watch]",
        "secrets [] [gatelet-acme] [get patch watch]",
    ];
    allowed(&real, "gatelet", &with(&own));
    restricted(&real);
}

/// The definitions of the kinds of Traefik, which accept any `spec`.
const DEFINITIONS: [(&str, &str); 2] = [
    ("Middleware", "middleware"),
    ("ServersTransport", "serverstransport"),
];

/// Two hosts: the Ingress of one names a Middleware, and the Service of the other a
/// ServersTransport.
fn of_traefik() -> String {
    const PREFIX: &str = "traefik.ingress.kubernetes.io";
    let site = |name: &str, on_ingress: &str, on_service: &str| {
        let service = backend_service(name, on_service);
        format!(
            "{service}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {{{on_ingress}}}}}
spec:
  ingressClassName: gatelet
  rules:
    - host: {name}.example.com
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: \
      {{number: 80}}}}}}}}]}}
---
"
        )
    };
    let on_ingress = format!("{PREFIX}/router.middlewares: default-strip@kubernetescrd");
    let on_service = format!("{PREFIX}/service.serverstransport: default-inside@kubernetescrd");
    site("stripped", &on_ingress, "") + &site("inside", "", &on_service)
}

#[test]
fn objects_of_traefik_are_read_with_the_rights_of_the_manifest() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let folder = Folder::new();
    let _backend = start_backend(&real, &folder);
    real.kubectl(&["apply", "-f", manifest()]);
    let daemon_set = json(&real, &["-n", "gatelet", "get", "daemonset", "gatelet"]);
    let pod = Pod::start(&real, &daemon_set["spec"]["template"]["spec"]);

    let status = |name: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
        curl.args(["--connect-to", &format!("::{POD}:")]);
        curl.arg(format!("http://{name}.example.com/foo/"));
        let output = real.beside(&curl).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The cluster lacks the kinds: their users are closed, and the rest is served.
    real.apply(&of_traefik());
    for name in ["stripped", "inside"] {
        eventually("the paths are closed", || {
            (status(name) == "503").then_some(())
        });
    }
    real.kubectl(&[
        "annotate",
        "service",
        "inside",
        "traefik.ingress.kubernetes.io/service.serverstransport-",
    ]);
    // The backend has no such file.
    eventually("a Service without one is served", || {
        (status("inside") == "404").then_some(())
    });
    real.apply(&of_traefik());

    for (kind, singular) in DEFINITIONS {
        real.apply(&format!(
            "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {singular}s.traefik.io}}
spec:
  group: traefik.io
  names: {{kind: {kind}, listKind: {kind}List, plural: {singular}s, singular: {singular}}}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties: {{spec: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"
        ));
        let name = format!("crd/{singular}s.traefik.io");
        real.kubectl(&["wait", "--for=condition=Established", &name]);
    }
    real.apply(
        "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: strip}
spec: {stripPrefix: {prefixes: [/foo]}}
---
apiVersion: traefik.io/v1alpha1
kind: ServersTransport
metadata: {name: inside}
spec: {forwardingTimeouts: {dialTimeout: 5s}}
",
    );
    eventually("the Middleware takes its step", || {
        (status("stripped") == "200").then_some(())
    });
    eventually("the ServersTransport is there", || {
        (status("inside") == "404").then_some(())
    });
    assert!(!pod.log().contains("forbidden"), "{}", pod.log());

    real.kubectl(&["delete", "middleware", "strip"]);
    eventually("the paths are closed again", || {
        (status("stripped") == "503").then_some(())
    });
    // A kind that goes takes its objects with it.
    real.kubectl(&["delete", "crd/serverstransports.traefik.io"]);
    eventually("the paths to the Service are closed again", || {
        (status("inside") == "503").then_some(())
    });
}

#[test]
fn labels_of_pods_are_read_with_the_rights_of_the_manifest() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let folder = Folder::new();
    let _backend = start_backend(&real, &folder);
    real.kubectl(&["apply", "-f", manifest()]);
    let daemon_set = json(&real, &["-n", "gatelet", "get", "daemonset", "gatelet"]);
    // The server applies changed rights with a delay.
    eventually("the account may read Pods", || {
        let list = real.kubectl(&["auth", "can-i", "--list", "--as", ACCOUNT]);
        list.contains("pods").then_some(())
    });
    let pod = Pod::start(&real, &daemon_set["spec"]["template"]["spec"]);

    let of = |name: &str, group: &str| {
        real.apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{group: {group}, run: app}}}}
spec: {{containers: [{{name: main, image: main}}]}}
"
        ));
        let uid = json(&real, &["get", "pod", name])["metadata"]["uid"].clone();
        uid.as_str().expect("a uid").to_owned()
    };
    // Nothing listens at the address of the other one.
    let (blue, green) = (of("blue", "blue"), of("green", "green"));
    real.apply(&format!(
        "apiVersion: v1
kind: Service
metadata: {{name: app}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
endpoints:
  - {{addresses: [{POD}], targetRef: {{kind: Pod, name: blue, uid: {blue}}}}}
  - {{addresses: [{LOST}], targetRef: {{kind: Pod, name: green, uid: {green}}}}}
ports: [{{port: 8080}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app
  annotations:
    haproxy-ingress.github.io/blue-green-balance: group=blue=1,group=green=0
    haproxy-ingress.github.io/blue-green-header: X-Group:group
spec:
  ingressClassName: gatelet
  rules:
    - host: app.example.com
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: app, port: \
      {{number: 80}}}}}}}}]}}
"
    ));

    let status = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
        curl.args(["--connect-to", &format!("::{POD}:")])
            .args(arguments);
        curl.arg("http://app.example.com/");
        let output = real.beside(&curl).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually("blue has all requests", || {
        (status(&[]) == "200").then_some(())
    });
    for _ in 0..20 {
        assert_eq!(status(&[]), "200");
    }
    assert!(!pod.log().contains("forbidden"), "{}", pod.log());

    // No endpoint is in a group any more, and then another one is.
    real.kubectl(&["label", "pod", "blue", "--overwrite", "group=old"]);
    eventually("nothing has requests", || {
        (status(&[]) == "503").then_some(())
    });
    assert_eq!(status(&["-H", "X-Group: old"]), "200");
    real.kubectl(&["label", "pod", "blue", "group-"]);
    eventually("the group is gone", || {
        (status(&["-H", "X-Group: old"]) == "503").then_some(())
    });
    real.kubectl(&["label", "pod", "blue", "group=blue"]);
    eventually("blue is back", || (status(&[]) == "200").then_some(()));

    real.kubectl(&["delete", "pod", "blue", "--force", "--grace-period=0"]);
    eventually("its endpoint has no requests", || {
        (status(&[]) == "503").then_some(())
    });
}

/// Returns the full list of the account's rights in a namespace, without those that every account
/// has.
fn allowed(real: &ControlPlane, namespace: &str, expected: &[&str]) {
    let everyone = |line: &&str| {
        line.contains("selfsubject") || line.contains(" [/") || line.starts_with("Resources")
    };
    // The server applies changed rights with a delay, and returns verbs of several roles in any
    // order.
    eventually(
        &format!("the account may do {expected:?} in {namespace}"),
        || {
            let list = real.kubectl(&["auth", "can-i", "--list", "--as", ACCOUNT, "-n", namespace]);
            let mut rows: Vec<String> = list
                .lines()
                .filter(|line| !everyone(line))
                .map(row)
                .collect();
            rows.sort();
            (rows == expected).then_some(())
        },
    );
}

/// Returns a line of the list with its verbs sorted.
fn row(line: &str) -> String {
    let (what, verbs) = line.trim_end().rsplit_once('[').expect("verbs");
    let mut verbs: Vec<&str> = verbs.trim_end_matches(']').split_whitespace().collect();
    verbs.sort_unstable();
    format!(
        "{} [{}]",
        what.split_whitespace().collect::<Vec<&str>>().join(" "),
        verbs.join(" ")
    )
}

const EVERYWHERE: [&str; 11] = [
    "configmaps [] [] [list watch]",
    "endpointslices.discovery.k8s.io [] [] [list watch]",
    "events [] [] [create get patch]",
    "ingressclasses.networking.k8s.io [] [] [list watch]",
    "ingresses.networking.k8s.io [] [] [list watch]",
    "ingresses.networking.k8s.io/status [] [] [patch]",
    "middlewares.traefik.io [] [] [list watch]",
    "pods [] [] [list watch]",
    "secrets [] [] [list watch]",
    "serverstransports.traefik.io [] [] [list watch]",
    "services [] [] [list watch]",
];

/// Checks that a stolen token of the pod gives no further rights.
fn refused(real: &ControlPlane, pod: &Pod) {
    let token = fs::read_to_string(pod.folder.path().join("account/token")).expect("the token");
    let attempts: [&[&str]; 6] = [
        &["create", "service", "clusterip", "mine", "--tcp=80"],
        &["delete", "secret", "web"],
        &["get", "lease", "gatelet"],
        &["get", "nodes"],
        &["annotate", "ingress", "web", "mine=yes"],
        &["-n", "gatelet", "create", "token", "gatelet"],
    ];
    for attempt in attempts {
        let mut command = real.kubectl_command(&[]);
        // Without the administrator's certificate.
        let config = pod.folder.write(
            "kubeconfig",
            &format!(
                "{{apiVersion: v1, kind: Config, current-context: it, contexts: [{{name: it, \
                    context: {{cluster: it, \
                 user: it}}}}], clusters: [{{name: it, cluster: {{server: \
                 \"https://127.0.0.1:16443\", \
                 certificate-authority: {}}}}}], users: [{{name: it, user: {{token: {}}}}}]}}",
                pod.folder.path().join("account/ca.crt").display(),
                token.trim()
            ),
        );
        command.arg("--kubeconfig").arg(config).args(attempt);
        let output = command.stdin(Stdio::null()).output().expect("kubectl");
        let text = said(&output);
        assert!(
            !output.status.success() && text.contains(&format!("User \"{ACCOUNT}\" cannot")),
            "{attempt:?}: {text}"
        );
    }
}

/// Pod Security objects only to the ports of the node.
fn restricted(real: &ControlPlane) {
    real.kubectl(&[
        "label",
        "namespace",
        "gatelet",
        "pod-security.kubernetes.io/warn=restricted",
    ]);
    let mut command = real.kubectl_command(&["replace", "--dry-run=server", "-f", manifest()]);
    let text = said(&command.stdin(Stdio::null()).output().expect("kubectl"));
    let warning = text
        .lines()
        .find(|line| line.starts_with("Warning: "))
        .expect("a warning");
    let warning = warning
        .split_once(": hostPort (")
        .map(|(before, _ports)| before);
    assert_eq!(
        warning,
        Some("Warning: would violate PodSecurity \"restricted:latest\""),
        "{text}"
    );
}
