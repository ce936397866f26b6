use std::{path::PathBuf, process::Command};

use super::{
    super::support::{
        Certificate, Folder, Gatelet, backend, certificates,
        control_plane::{ControlPlane, FileServer},
        eventually,
    },
    logs,
};

const HOST: &str = "real.example.com";
/// An address of a test range: a real API server refuses loopback in EndpointSlices.
const POD: &str = "10.244.0.5";

/// A gatelet beside a real control plane, with the token of a ServiceAccount, and a backend there.
struct Beside {
    real: ControlPlane,
    gatelet: Gatelet,
    _backend: FileServer,
    folder: Folder,
}

impl Beside {
    fn start(rights: &str) -> Option<Self> {
        let real = ControlPlane::start()?;
        let folder = Folder::new();
        folder.write("who", "the pod");
        let backend = real.serve(&folder, (POD, 8000));
        real.apply(rights);
        real.apply(
            "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: gatelet}, \
             spec: {controller: gatelet.dev/ingress-controller}}",
        );
        let kubeconfig = write_kubeconfig(&real, &folder);
        let mut gatelet =
            Gatelet::prepare(&["--kubeconfig", kubeconfig.to_str().expect("a plain path")]);
        gatelet.spawn_command(real.beside(&gatelet.run_command()));
        Some(Self {
            real,
            gatelet,
            _backend: backend,
            folder,
        })
    }

    /// Puts another token into the kubeconfig.
    fn renew(&self) {
        write_kubeconfig(&self.real, &self.folder);
    }

    fn said(&self, command: &Command) -> String {
        let output = self
            .real
            .beside(command)
            .output()
            .expect("it can be started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn status_of(&self, host: &str) -> String {
        let mut curl = self.gatelet.curl(host, "/who");
        curl.args(["-o", "/dev/null", "-w", "%{http_code}"]);
        self.said(&curl)
    }

    fn wait_for(&self, host: &str, status: &str) {
        eventually(&format!("{host}: {status}"), || {
            (self.status_of(host) == status).then_some(())
        });
    }

    /// Returns whether HTTPS serves this certificate.
    fn shows(&self, certificate: &Certificate) -> bool {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-m",
            "20",
            "--resolve",
            &format!("{HOST}:{}:127.0.0.1", self.gatelet.https),
            "--cacert",
        ]);
        curl.arg(&certificate.chain)
            .arg(format!("https://{HOST}:{}/who", self.gatelet.https));
        self.said(&curl) == "the pod"
    }
}

/// Writes a kubeconfig with a token of the ServiceAccount.
fn write_kubeconfig(real: &ControlPlane, folder: &Folder) -> PathBuf {
    let token = eventually("the ServiceAccount is there", || {
        let output = real
            .kubectl_command(&["create", "token", "gatelet"])
            .output()
            .expect("kubectl");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let authority = real.kubeconfig().with_file_name("pki/ca.crt");
    folder.write(
        "kubeconfig",
        &format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: \
                {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:16443', \
             certificate-authority: {}}}}}], \
             users: [{{name: u, user: {{token: {token}}}}}]}}",
            authority.display()
        ),
    )
}

fn rights(resources: &str) -> String {
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: gatelet}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: gatelet}}
rules:
- {{apiGroups: ['', networking.k8s.io, discovery.k8s.io], resources: {resources}, verbs: [list, \
watch]}}
- {{apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [patch]}}
- {{apiGroups: [''], resources: [events], verbs: [create, get, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: gatelet}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: gatelet}}
subjects: [{{kind: ServiceAccount, name: gatelet, namespace: default}}]
"
    )
}

const LEASES: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gatelet, namespace: kube-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, delete, get, list, \
update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gatelet, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gatelet}
subjects: [{kind: ServiceAccount, name: gatelet, namespace: default}]
";

fn ingress(name: &str, host: &str, tls: &str) -> String {
    backend::ingress(name, host, tls)
        .replace("spec:\n", "spec:\n  ingressClassName: gatelet\n")
        .replace(&format!("service: {{name: {name}"), "service: {name: web")
}

#[test]
fn a_real_cluster_is_followed_through_lost_rights_and_restarts() {
    let Some(mut beside) = Beside::start(&rights(
        "[ingressclasses, services, endpointslices, ingresses]",
    )) else {
        return;
    };
    let certificate = Certificate::make(&beside.folder, "real", &[HOST], certificates::ECDSA);
    let slice = backend::slice("web", &[8000])
        .replace("192.0.2.1", POD)
        .replace(", nodeName: test", "");
    let tls = format!("  tls: [{{hosts: [{HOST}], secretName: real}}]\n");
    beside.real.apply(&format!(
        "{}{slice}{}{}",
        backend::service("web", ""),
        certificate.secret("real"),
        ingress("real", HOST, &tls)
    ));
    beside.real.kubectl(&[
        "annotate",
        "ingress",
        "real",
        "gatelet.dev/ssl-redirect=false",
    ]);

    // Without the right to read Secrets everything else is served, and the log says what to grant.
    beside.wait_for(HOST, "200");
    logs(
        &beside.gatelet,
        "the cluster does not allow this kind to be read: grant list and watch; \
         everything else continues",
    );
    logs(&beside.gatelet, "secrets is forbidden");
    assert!(!beside.shows(&certificate));
    logs(&beside.gatelet, "SecretsForbidden");
    assert!(!beside.gatelet.log().contains("SecretNotFound"));
    beside.real.apply(&rights(
        "[ingressclasses, services, endpointslices, ingresses, secrets]",
    ));
    eventually("the certificate is shown once it may be read", || {
        beside.shows(&certificate).then_some(())
    });

    // The status and the findings are written back.
    let wait = [
        "wait",
        "ingress/real",
        "--for=jsonpath={.status.loadBalancer.ingress[0].ip}",
        "--timeout=20s",
    ];
    beside.real.kubectl(&wait);
    let lost = ingress("lost", "lost.example.com", "")
        .replace("service: {name: web", "service: {name: nowhere");
    beside.real.apply(&lost);
    // The Event's count, and the time when it was last seen.
    let event = || {
        let path = "jsonpath={range .items[*]}{.reason} {.count},{.lastTimestamp}{end}";
        let event = beside.real.kubectl(&[
            "get",
            "events",
            "--field-selector=involvedObject.name=lost",
            "-o",
            path,
        ]);
        event
            .split_once(',')
            .map(|(event, at)| (event.to_owned(), at.to_owned()))
            .unwrap_or_default()
    };
    let before = eventually("the finding is an Event", || {
        Some(event()).filter(|(event, _)| event == "UnknownService 1")
    });

    // Leases were not allowed either: gatelet acted as the only replica until they are.
    logs(
        &beside.gatelet,
        "the cluster does not allow Leases: this gatelet acts as the only replica",
    );
    eventually("the status says so", || {
        let status = beside.said(&beside.gatelet.command_line(&["status"]));
        status
            .lines()
            .any(|line| line == "leader   this replica: there is no Lease")
            .then_some(())
    });
    beside.real.apply(LEASES);
    logs(&beside.gatelet, "Leases are allowed now: one replica leads");

    // gatelet restarts: a finding that still holds is not counted again, one that returns is.
    beside.gatelet.kill();
    let again = beside.real.beside(&beside.gatelet.run_command());
    beside.gatelet.spawn_command(again);
    beside.wait_for(HOST, "200");
    eventually("the finding is seen again", || {
        (event().1 != before.1).then_some(())
    });
    assert_eq!(event().0, "UnknownService 1");
    beside
        .real
        .apply(&lost.replace("name: nowhere", "name: web"));
    beside.wait_for("lost.example.com", "200");
    beside.real.apply(&lost);
    eventually("the finding is an Event again", || {
        (event().0 == "UnknownService 2").then_some(())
    });

    // The API server stops and comes back.
    let mut again = beside.real.kill_api_server();
    logs(
        &beside.gatelet,
        "the cluster does not respond; continuing to serve the last known state",
    );
    assert_eq!(beside.status_of(HOST), "200");
    beside.real.spawn(&mut again);
    let more = ingress("more", "more.example.com", "");
    let file = beside.folder.write("more.yaml", &more);
    eventually("the API server is back", || {
        let mut apply =
            beside
                .real
                .kubectl_command(&["apply", "-f", file.to_str().expect("a plain path")]);
        apply
            .output()
            .expect("kubectl")
            .status
            .success()
            .then_some(())
    });
    beside.wait_for("more.example.com", "200");
    beside.real.kubectl(&["delete", "ingress", "more"]);
    beside.wait_for("more.example.com", "404");

    // The token is no longer valid: gatelet serves the last known state, and the log says why
    // nothing new arrives.
    beside
        .real
        .kubectl(&["delete", "serviceaccount", "gatelet"]);
    let mut again = beside.real.kill_api_server();
    beside.real.spawn(&mut again);
    eventually("the API server is back", || {
        let mut get = beside.real.kubectl_command(&["get", "ingressclass"]);
        get.output()
            .expect("kubectl")
            .status
            .success()
            .then_some(())
    });
    logs(
        &beside.gatelet,
        "the cluster does not accept the credentials: renew them, they are read again; \
         continuing to serve the last known state",
    );
    assert_eq!(beside.status_of(HOST), "200");
    assert!(beside.shows(&certificate));

    // With another token in the kubeconfig it continues.
    let resources = "[ingressclasses, services, endpointslices, ingresses, secrets]";
    beside.real.apply(&rights(resources));
    beside.renew();
    beside.real.apply(&more);
    beside.wait_for("more.example.com", "200");
}
