//! The API of the mini cluster: authentication, watches, paged lists, Events, many objects.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::support::{Backend, Gatelet, eventually, peers, run, said};

#[test]
fn only_the_credentials_of_the_kubeconfig_give_access() {
    let gatelet = Gatelet::start();
    let mode = fs::metadata(gatelet.kubeconfig())
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let printed = gatelet.command(&["kubeconfig"]);
    assert!(printed.status.success(), "{}", said(&printed));
    assert_eq!(
        printed.stdout,
        fs::read(gatelet.kubeconfig()).expect("it is there")
    );

    let token = gatelet.kubectl(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.users[0].user.token}",
    ]);
    assert_eq!(token.len(), 64, "{token}");
    assert_eq!(request(&gatelet, "/api/v1/secrets", Some(&token)).0, 200);

    for wrong in [None, Some("wrong"), Some("")] {
        let (status, body) = request(&gatelet, "/api/v1/secrets", wrong);
        assert_eq!(status, 401, "{body}");
        assert!(body.contains(r#""reason":"Unauthorized""#), "{body}");
    }

    // The client certificate works without the token.
    let whole = fs::read_to_string(gatelet.kubeconfig()).expect("it is there");
    let certificate: String = whole
        .lines()
        .filter(|line| !line.contains("token:"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_ne!(certificate, whole);

    let file = gatelet.folder.write("certificate", &certificate);
    let mut kubectl = peers::kubectl();
    kubectl
        .arg("--kubeconfig")
        .arg(file)
        .args(["get", "secrets", "-A"])
        .env("HOME", gatelet.folder.path());
    run(&mut kubectl);
}

#[test]
fn a_watch_of_any_kubectl_shows_each_change() {
    let gatelet = Gatelet::start();
    for (number, kubectl) in [Some(peers::kubectl()), peers::oldest_kubectl()]
        .into_iter()
        .flatten()
        .enumerate()
    {
        let name = format!("watched-{number}");
        let mut watch = Watch::start(
            &gatelet,
            &kubectl,
            &["configmap", "-l", "watched", "--output-watch-events"],
        );
        let table = Watch::start(&gatelet, &kubectl, &["namespace", "--no-headers"]);
        table.wait_for("default");

        gatelet.kubectl(&["create", "configmap", &name, "--from-literal=a=1"]);
        gatelet.kubectl(&["label", "configmap", &name, "watched=yes"]);
        watch.wait_for(&format!("ADDED      {name}   1"));
        gatelet.kubectl(&[
            "patch",
            "configmap",
            &name,
            "--type=merge",
            "-p",
            r#"{"data":{"b":"2"}}"#,
        ]);
        watch.wait_for(&format!("MODIFIED   {name}   2"));
        gatelet.kubectl(&["label", "configmap", &name, "watched-"]);
        watch.wait_for(&format!("DELETED    {name}   2"));

        gatelet.kubectl(&["create", "namespace", &name]);
        table.wait_for(&name);
        assert!(
            watch.child.try_wait().expect("its status").is_none(),
            "the watch goes on"
        );
    }
}

#[test]
fn a_watch_from_before_the_history_has_to_list_again() {
    let mut gatelet = Gatelet::start();
    gatelet.kubectl(&["create", "configmap", "one"]);
    let at = gatelet.kubectl(&[
        "get",
        "configmap",
        "one",
        "-o",
        "jsonpath={.metadata.resourceVersion}",
    ]);
    let watch = |at: &str| {
        format!(
            "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&resourceVersion={at}\
             &fieldSelector=metadata.name%3Done"
        )
    };
    assert_eq!(
        gatelet.kubectl(&["get", "--raw", &watch(&at)]),
        "",
        "nothing has changed since"
    );

    gatelet.kill();
    gatelet.spawn();
    gatelet.wait_ready();
    let event = gatelet.kubectl(&["get", "--raw", &watch("1")]);
    assert!(
        event.contains(r#""type":"ERROR""#) && event.contains(r#""code":410"#),
        "{event}"
    );
    assert!(event.contains(r#""reason":"Expired""#), "{event}");

    let list = gatelet.kubectl(&["get", "--raw", "/api/v1/namespaces/default/configmaps"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let mut items = list["items"].as_array().expect("a list").iter();
    let one = items.find(|object| object["metadata"]["name"] == "one");
    assert_eq!(one.expect("stored")["metadata"]["resourceVersion"], *at);

    let now = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a text");
    assert_eq!(gatelet.kubectl(&["get", "--raw", &watch(now)]), "");
}

#[test]
fn every_kind_of_discovery_is_served() {
    let gatelet = Gatelet::start();
    // Only kinds that are served can be created. The others are in `api_absent.rs`.
    let kinds = ["api-resources", "-o", "name", "--sort-by=name"];
    let all = gatelet.kubectl(&kinds);
    let names = gatelet.kubectl(&[&kinds[..], &["--verbs=create"]].concat()) + "nodes";
    assert_eq!(all.lines().count() - names.lines().count(), 17);
    assert_eq!(
        names.split_whitespace().collect::<Vec<_>>(),
        [
            "clusterrolebindings.rbac.authorization.k8s.io",
            "clusterroles.rbac.authorization.k8s.io",
            "configmaps",
            "endpoints",
            "endpointslices.discovery.k8s.io",
            "events",
            "events.events.k8s.io",
            "ingressclasses.networking.k8s.io",
            "ingresses.networking.k8s.io",
            "leases.coordination.k8s.io",
            "localsubjectaccessreviews.authorization.k8s.io",
            "middlewares.traefik.io",
            "namespaces",
            "rolebindings.rbac.authorization.k8s.io",
            "roles.rbac.authorization.k8s.io",
            "secrets",
            "selfsubjectaccessreviews.authorization.k8s.io",
            "selfsubjectreviews.authentication.k8s.io",
            "selfsubjectrulesreviews.authorization.k8s.io",
            "serverstransports.traefik.io",
            "serviceaccounts",
            "services",
            "subjectaccessreviews.authorization.k8s.io",
            "tokenreviews.authentication.k8s.io",
            "nodes",
        ]
    );

    let versions = gatelet.kubectl(&["api-versions"]);
    let expected = [
        "apps/v1",
        "authentication.k8s.io/v1",
        "authorization.k8s.io/v1",
        "autoscaling/v1",
        "autoscaling/v2",
        "batch/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "events.k8s.io/v1",
        "networking.k8s.io/v1",
        "policy/v1",
        "rbac.authorization.k8s.io/v1",
        "scheduling.k8s.io/v1",
        "storage.k8s.io/v1",
        "traefik.io/v1alpha1",
        "v1",
    ];
    assert_eq!(versions.split_whitespace().collect::<Vec<_>>(), expected);

    for kubectl in [Some(peers::kubectl()), peers::oldest_kubectl()]
        .into_iter()
        .flatten()
    {
        for name in names.split_whitespace() {
            let output = with(&gatelet, &kubectl)
                .args(["get", name, "-A", "-o", "wide"])
                .output()
                .expect("kubectl");
            // Reviews can only be created.
            let readable = !name.contains("reviews.");
            assert_eq!(
                output.status.success(),
                readable,
                "{name}: {}",
                said(&output)
            );
            if name.starts_with("events.") {
                continue; // kubectl parses this name as a field of events.
            }
            let output = with(&gatelet, &kubectl)
                .args(["explain", name])
                .output()
                .expect("kubectl");
            assert!(
                said(&output).contains("FIELDS:"),
                "{name}: {}",
                said(&output)
            );
        }
        let all = with(&gatelet, &kubectl)
            .args(["get", "all", "-A"])
            .output()
            .expect("kubectl");
        assert!(all.status.success(), "{}", said(&all));
    }
    let node = gatelet.kubectl(&["describe", "node", super::support::gatelet::NODE]);
    assert!(node.contains("Ready") && node.contains("gatelet"), "{node}");

    let refused = gatelet
        .kubectl_command(&["delete", "node", super::support::gatelet::NODE])
        .output()
        .expect("kubectl");
    assert!(
        said(&refused).contains("the server does not allow this method on the requested resource")
    );
}

#[test]
fn an_ingress_has_its_address_and_events_about_findings() {
    let (backend, gatelet) = (Backend::start("found"), Gatelet::start());
    gatelet.apply(&backend.manifests("found", "found.example.com"));
    gatelet.kubectl(&[
        "wait",
        "ingress/found",
        "--for=jsonpath={.status.loadBalancer.ingress[0].ip}",
        "--timeout=20s",
    ]);
    let rows = gatelet.kubectl(&["get", "ingress", "found", "--no-headers"]);
    let columns: Vec<&str> = rows.split_whitespace().collect();
    assert_eq!(
        (columns[1], columns[2], columns.len()),
        ("gatelet", "found.example.com", 6),
        "{rows}"
    );

    gatelet.apply(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: lost}, \
         spec: {rules: [{host: lost.example.com, http: {paths: [{path: /, pathType: Prefix, \
         backend: {service: {name: nowhere, port: {number: 80}}}}]}}]}}",
    );
    for kubectl in [Some(peers::kubectl()), peers::oldest_kubectl()]
        .into_iter()
        .flatten()
    {
        eventually("the finding is an Event of the Ingress", || {
            let output = with(&gatelet, &kubectl)
                .args(["describe", "ingress", "lost"])
                .output()
                .expect("kubectl");
            let text = said(&output);
            (text.contains("Warning") && text.contains("nowhere") && text.contains("Events:"))
                .then_some(())
        });
        let described = with(&gatelet, &kubectl)
            .args(["describe", "ingress", "found"])
            .output()
            .expect("kubectl");
        let described = said(&described);
        assert!(
            described.contains(&format!("found:80 (192.0.2.1:{})", backend.port)),
            "{described}"
        );
        assert!(described.trim_end().ends_with("<none>"), "{described}");
    }
    let events = gatelet.kubectl(&["events", "--for", "ingress/lost", "--no-headers"]);
    assert_eq!(events.lines().count(), 1, "{events}");

    let metrics = run(Command::new("curl").args([
        "-sf",
        &format!("http://127.0.0.1:{}/metrics", gatelet.admin),
    ]));
    assert!(
        metrics.contains("gatelet_findings{reason=\"UnknownService\"} 1\n"),
        "{metrics}"
    );
    // The page of metrics names all of them.
    let page = include_str!("../../docs/metrics.md");
    let families = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    for (name, kind) in families.filter_map(|family| family.split_once(' ')) {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(
            page.contains(&format!("| `{name}{suffix}` | {kind} |")),
            "{name}"
        );
    }

    let log = gatelet.log();
    let line = log
        .lines()
        .find(|line| line.contains("UnknownService"))
        .expect("a line in the log");
    assert!(
        line.contains("WARN") && line.contains("default/lost") && line.contains("nowhere"),
        "{line}"
    );

    // A note is logged as information, not as a warning.
    gatelet.kubectl(&["annotate", "ingress", "found", "gatelet.dev/nothing=1"]);
    let line = eventually("it is logged", || {
        gatelet
            .log()
            .lines()
            .find(|line| line.contains("UnknownAnnotation"))
            .map(str::to_owned)
    });
    assert!(
        line.contains(" INFO ") && line.contains("default/found"),
        "{line}"
    );

    gatelet.kubectl(&["annotate", "ingress", "found", "gatelet.dev/nothing-"]);
    assert_eq!(gatelet.status_of("lost.example.com", "/"), 503);

    // A finding that disappears and returns increments the count of the same Event.
    gatelet.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: nowhere}, spec: {ports: [{port: 80}]}}",
    );
    eventually("the finding is gone", || {
        gatelet.status()["findings"]
            .as_array()
            .expect("a list")
            .is_empty()
            .then_some(())
    });
    gatelet.kubectl(&["delete", "service", "nowhere"]);
    eventually("the Event has its count incremented", || {
        let path = "jsonpath={.items[*].reason} {.items[*].count}";
        let of = "--field-selector=involvedObject.name=lost";
        (gatelet.kubectl(&["get", "events", of, "-o", path]) == "UnknownService 2").then_some(())
    });
}

#[test]
fn the_python_client_works() {
    let gatelet = Gatelet::start();
    let mut python = peers::script("kubernetes_client.py");
    let output = run(python
        .arg(gatelet.kubeconfig())
        .env("HOME", gatelet.folder.path()));
    assert_eq!(output.lines().last(), Some("done"), "{output}");
}

#[test]
fn hundreds_of_ingresses_in_one_file_are_served_and_paged() {
    const MANY: usize = 300;
    let (backend, gatelet) = (Backend::start("many"), Gatelet::start());
    gatelet.apply(&backend.manifests("many", "many.example.com"));

    let ingress = |number: usize| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\n\
             metadata: {{name: many-{number:03}, labels: {{many: \"\"}}}}\n\
             spec: {{rules: [{{host: m{number}.example.com, http: {{paths: [{{path: /, \
             pathType: Prefix, backend: {{service: {{name: many, port: {{number: 80}}}}}}}}]}}}}]}}\
             \n---\n"
        )
    };
    let file = gatelet
        .folder
        .write("many.yaml", &(0..MANY).map(ingress).collect::<String>());
    let file = file.to_str().expect("a plain path");
    let applied = gatelet.kubectl(&["apply", "-f", file]);
    assert_eq!(
        applied
            .lines()
            .filter(|line| line.ends_with(" created"))
            .count(),
        MANY
    );

    let names: Vec<String> = (0..MANY)
        .map(|number| format!("ingress.networking.k8s.io/many-{number:03}"))
        .collect();
    for size in ["0", "1000", "300", "299", "100"] {
        let listed = gatelet.kubectl(&[
            "get",
            "ingress",
            "-l",
            "many",
            "-o",
            "name",
            "--chunk-size",
            size,
        ]);
        assert_eq!(
            listed.lines().collect::<Vec<_>>(),
            names,
            "in pages of {size}"
        );
    }

    // A paged list has one resource version, even if objects change between its pages.
    let page = |token: &str| {
        let path = format!(
            "/apis/networking.k8s.io/v1/ingresses?limit=100&labelSelector=many&continue={token}"
        );
        let page: serde_json::Value =
            serde_json::from_str(&gatelet.kubectl(&["get", "--raw", &path])).expect("JSON");
        let token = page["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (
            page["items"].as_array().expect("a list").len(),
            page["metadata"]["resourceVersion"].clone(),
            token,
        )
    };
    let (first, version, token) = page("");
    gatelet.kubectl(&["delete", "ingress", "many-000"]);
    let (second, same_version, token) = page(&token);
    let (third, _version, end) = page(&token);
    assert_eq!((first, second, third, &*end), (100, 100, 100, ""));
    assert_eq!(version, same_version);

    eventually("the last one is served", || {
        (gatelet.status_of("m299.example.com", "/") == 200).then_some(())
    });
    for host in ["m1.example.com", "m150.example.com"] {
        assert_eq!(gatelet.status_of(host, "/"), 200);
    }

    let again = gatelet.kubectl(&["apply", "-f", file]);
    assert_eq!(
        again
            .lines()
            .filter(|line| line.ends_with(" unchanged"))
            .count(),
        MANY - 1
    );

    let collection = "/apis/networking.k8s.io/v1/namespaces/default/ingresses?labelSelector=many";
    gatelet.kubectl(&["delete", "--raw", collection]);
    assert_eq!(
        gatelet.kubectl(&["get", "ingress", "-o", "name"]).trim(),
        "ingress.networking.k8s.io/many"
    );

    eventually("they are not served any more", || {
        (gatelet.status_of("m150.example.com", "/") == 404).then_some(())
    });
}

#[test]
fn thousands_of_concurrent_writes_survive_sigkill() {
    let (backend, mut gatelet) = (Backend::start("thousands"), Gatelet::start());
    gatelet.apply(&backend.manifests("thousands", "thousands.example.com"));
    let token = gatelet.kubectl(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.users[0].user.token}",
    ]);

    let script = gatelet.folder.write("write.py", WRITE);
    let mut python = peers::python();
    python
        .arg(script)
        .arg(gatelet.api.to_string())
        .arg(certificate(&gatelet))
        .args([&*token, "2000"]);
    assert_eq!(run(&mut python).trim(), "2000 created");

    eventually("the last one is served", || {
        (gatelet.status_of("i1999.example.com", "/") == 200).then_some(())
    });

    gatelet.kill();
    gatelet.spawn();
    gatelet.wait_ready();
    let listed = gatelet.kubectl(&["get", "ingress", "-o", "name"]);
    assert_eq!(listed.lines().count(), 2001);

    for host in ["i0.example.com", "i1000.example.com", "i1999.example.com"] {
        assert_eq!(gatelet.status_of(host, "/"), 200, "{host}");
    }
}

/// A script that creates Ingresses over four connections.
const WRITE: &str = r#"
import http.client, json, ssl, sys, threading
port, ca, token, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl.create_default_context(cafile=ca)
created = [0] * 4
def write(which):
    client = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    for number in range(which, count, 4):
        backend = {"service": {"name": "thousands", "port": {"number": 80}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        rule = {"host": f"i{number}.example.com", "http": {"paths": [path]}}
        body = {"metadata": {"name": f"i{number}"}, "spec": {"rules": [rule]}}
        headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        collection = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
        client.request("POST", collection, json.dumps(body), headers)
        response = client.getresponse()
        response.read()
        created[which] += response.status == 201
threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(created), "created")
"#;

/// A running `kubectl get -w` that writes its output to a file.
struct Watch {
    child: Child,
    file: PathBuf,
}

impl Watch {
    fn start(gatelet: &Gatelet, kubectl: &Command, arguments: &[&str]) -> Self {
        let file = gatelet
            .folder
            .path()
            .join(format!("watch-{}", super::support::free_port()));
        let out = File::create(&file).expect("a file");
        let mut command = with(gatelet, kubectl);
        command
            .args(["get", "-w"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out);
        Self {
            child: command.spawn().expect("kubectl starts"),
            file,
        }
    }

    fn wait_for(&self, text: &str) {
        eventually(text, || {
            fs::read_to_string(&self.file)
                .expect("it is there")
                .contains(text)
                .then_some(())
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command of this kubectl for the mini cluster.
fn with(gatelet: &Gatelet, kubectl: &Command) -> Command {
    let mut command = Command::new(kubectl.get_program());
    command
        .arg("--kubeconfig")
        .arg(gatelet.kubeconfig())
        .env("HOME", gatelet.folder.path());
    command
}

/// Writes the CA of the API to a file.
fn certificate(gatelet: &Gatelet) -> PathBuf {
    let path = "jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let encoded = gatelet.kubectl(&["config", "view", "--raw", "-o", path]);
    let encoded = gatelet.folder.write("ca.base64", &encoded);
    let pem = run(Command::new("base64").arg("-d").arg(encoded));
    gatelet.folder.write("api-ca.pem", &pem)
}

/// Sends a request with this token, and returns the status and body of the response.
fn request(gatelet: &Gatelet, path: &str, token: Option<&str>) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "-w", "\n%{http_code}", "--cacert"])
        .arg(certificate(gatelet));
    if let Some(token) = token {
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let output = run(curl.arg(format!("https://127.0.0.1:{}{path}", gatelet.api)));
    let (body, status) = output.rsplit_once('\n').expect("two lines");
    (status.parse().expect("a number"), body.to_owned())
}
