//! gatelet as a container of the DaemonSet, and a backend with an address of its own.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    super::support::{
        Folder,
        control_plane::{ControlPlane, FileServer},
        eventually, run,
    },
    POD,
};

/// The port of the backend.
const PORT: u16 = 8080;

/// gatelet as a container of the DaemonSet. Killed with its test.
pub(super) struct Pod {
    pub(super) child: Child,
    pub(super) folder: Folder,
}

impl Pod {
    pub(super) fn start(real: &ControlPlane, template: &Value) -> Self {
        Self::on_node(real, template, &Folder::new())
    }

    /// Starts one on a node with this folder, which is the node's for volumes of it (`hostPath`).
    pub(super) fn on_node(real: &ControlPlane, template: &Value, node: &Folder) -> Self {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("account")).expect("a folder");
        folder.write(
            "account/token",
            &real.kubectl(&["-n", "gatelet", "create", "token", "gatelet"]),
        );
        let pki = real.kubeconfig().with_file_name("pki");
        fs::copy(pki.join("ca.crt"), folder.path().join("account/ca.crt"))
            .expect("it can be copied");
        folder.write("account/namespace", "gatelet");

        let container = &template["containers"][0];
        let security = &template["securityContext"];
        assert_eq!(
            container["image"],
            concat!("gatelet:", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        let capabilities = &container["securityContext"]["capabilities"];
        assert_eq!(capabilities["drop"], serde_json::json!(["ALL"]));
        let mut bounding = "-all".to_owned();
        for added in capabilities["add"].as_array().into_iter().flatten() {
            let name = added.as_str().expect("a name").to_lowercase();
            bounding += &format!(",+{name}");
        }
        let controls = security["sysctls"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|control| {
                let name = control["name"].as_str().expect("a name").replace('.', "/");
                format!(
                    "echo {} >/proc/sys/{name}\n",
                    control["value"].as_str().expect("a value")
                )
            });
        let state = container["volumeMounts"][0]["mountPath"]
            .as_str()
            .expect("a path");
        let user = security["runAsUser"].as_u64().expect("a number");
        let of_image =
            include_str!("../../../Dockerfile").contains(&format!("\nUSER {user}:{user}\n"));
        assert!(user == 0 || of_image, "{user}");
        let volume = &template["volumes"][0];
        let volume = match volume["hostPath"]["type"].as_str() {
            Some(of_node) => {
                assert_eq!(of_node, "DirectoryOrCreate");
                r#"mkdir -p "$NODE/state" "$STATE"
                mount --bind "$NODE/state" "$STATE""#
                    .to_owned()
            }
            None => {
                assert!(volume["emptyDir"].is_object(), "{volume}");
                format!(
                    r#"mkdir "$STATE"
                    chgrp {user} "$STATE" && chmod 2777 "$STATE""#
                )
            }
        };
        let script = format!(
            r#"{}
            account=/run/secrets/kubernetes.io/serviceaccount
            mount -t tmpfs none /run
            mkdir -p $account && cp "$FOLDER"/account/* $account
            touch /run/gatelet && mount --bind "$0" /run/gatelet
            mount -t tmpfs none "${{STATE%/*}}"
            {volume}
            mount -o remount,bind,ro /
            exec setpriv --reuid {user} --regid {user} --clear-groups --bounding-set {bounding} \
                --inh-caps -all --no-new-privs /run/gatelet "$@""#,
            controls.collect::<String>()
        );
        // Without the environment of this machine.
        let mut command = Command::new("env");
        command.args([
            "-i",
            "HOME=/",
            "KUBERNETES_SERVICE_HOST=127.0.0.1",
            "KUBERNETES_SERVICE_PORT=16443",
        ]);
        command.arg(format!(
            "PATH={}",
            std::env::var("PATH").unwrap_or_default()
        ));
        command
            .arg(format!("FOLDER={}", folder.path().display()))
            .arg(format!("NODE={}", node.path().display()))
            .arg(format!("STATE={state}"));
        for variable in container["env"].as_array().expect("a list") {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("spec.nodeName") => "node1",
                Some("status.hostIP") => "192.0.2.10",
                other => panic!("no value for {other:?}"),
            };
            command.arg(format!(
                "{}={value}",
                variable["name"].as_str().expect("a name")
            ));
        }
        command.args([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            &script,
        ]);
        command.arg(env!("CARGO_BIN_EXE_gatelet"));
        command.args(
            container["args"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|word| word.as_str().expect("a word")),
        );
        let log = File::create(folder.path().join("log")).expect("the log");
        let mut command = real.beside(&command);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log);
        let mut pod = Self {
            child: command.spawn().expect("it starts"),
            folder,
        };
        let probes = [&container["livenessProbe"], &container["readinessProbe"]];
        for probe in probes.map(|probe| &probe["httpGet"]) {
            let mut ports = container["ports"].as_array().into_iter().flatten();
            let port = match probe["port"].is_u64() {
                true => &probe["port"],
                false => &ports
                    .find(|port| port["name"] == probe["port"])
                    .expect("it")["containerPort"],
            };
            let host = probe["host"].as_str().unwrap_or(POD);
            let path = probe["path"].as_str().expect("a path");
            let url = format!("http://{host}:{port}{path}");
            eventually("the probe succeeds", || {
                let status = pod.child.try_wait().expect("its status");
                assert!(status.is_none(), "gatelet ended: {}", pod.log());
                let answered = real
                    .beside(Command::new("curl").args(["-sf", "-m", "2", &url]))
                    .output();
                answered.expect("curl").status.success().then_some(())
            });
        }
        pod
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Ends it as the kubelet does.
    pub(super) fn terminate(&self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of gatelet:\n{}", self.log());
        }
    }
}

/// Starts a backend with the address of a pod.
pub(super) fn start_backend(real: &ControlPlane, folder: &Folder) -> FileServer {
    folder.write("index.html", "the backend\n");
    real.serve(folder, (POD, PORT))
}

/// A Service that leads to the backend; `annotations` are those of the Service.
pub(super) fn backend_service(name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [{POD}]}}]
ports: [{{port: {PORT}}}]
---
"
    )
}
