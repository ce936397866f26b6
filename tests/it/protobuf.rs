//! Bodies in protobuf, as a real server writes them, are read as the same object as its JSON, and a
//! real server reads those of gatelet so.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::support::{Folder, Gatelet, control_plane::ControlPlane, run};

/// Paths of collections, each with an object that has as many fields as possible.
const OBJECTS: &str = include_str!("peers/objects.json");

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Asks curl for a response in protobuf, into the file that follows.
const ACCEPT: [&str; 4] = [
    "--fail-with-body",
    "-H",
    "Accept: application/vnd.kubernetes.protobuf",
    "-o",
];

#[test]
fn protobuf_is_the_same_object_as_on_a_real_server() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let (gatelet, folder) = (Gatelet::start(), Folder::new());
    let objects: Vec<(String, Value)> = serde_json::from_str(OBJECTS).expect("JSON");

    let keys = real.kubeconfig().with_file_name("pki");
    let decoded = |name: &str, field: &str| {
        let encoded = gatelet.kubectl(&[
            "config",
            "view",
            "--raw",
            "-o",
            &format!("jsonpath={{{field}}}"),
        ]);
        let encoded = folder.write("encoded", &encoded);
        folder.write(name, &run(Command::new("base64").arg("-d").arg(encoded)))
    };

    let ours = Keys {
        ca: &decoded("ca", ".clusters[0].cluster.certificate-authority-data"),
        certificate: &decoded("certificate", ".users[0].user.client-certificate-data"),
        key: &decoded("key", ".users[0].user.client-key-data"),
    };
    let theirs = Keys {
        ca: &keys.join("ca.crt"),
        certificate: &keys.join("admin.crt"),
        key: &keys.join("admin.key"),
    };

    for (path, object) in objects {
        // In a dry run the response has no resource version, so it can be created again.
        let path = format!("{path}?dryRun=All");
        let body = folder.write("object", &object.to_string());
        let response = folder.path().join("response");
        let url = format!("https://127.0.0.1:16443{path}");
        let mut request = theirs.post(&url, &body, "application/json");
        run(&mut real.beside(request.args(ACCEPT).arg(&response)));
        let json = run(&mut real.beside(&theirs.post(&url, &body, "application/json")));
        let json_file = folder.write("json", &json);

        let url = format!("https://127.0.0.1:{}{path}", gatelet.api);
        let from_protobuf = run(&mut ours.post(&url, &response, PROTOBUF));
        let from_json = run(&mut ours.post(&url, &json_file, "application/json"));
        assert_eq!(
            essence(&from_protobuf),
            essence(&json),
            "{path}: as on the real server"
        );
        assert_eq!(essence(&from_protobuf), essence(&from_json), "{path}");

        // The real server treats what gatelet writes the same in both formats, even where it
        // refuses it: the address of a Service may be taken by now.
        let json = run(&mut ours.post(&url, &json_file, "application/json"));
        let json = folder.write("ours", &json);
        let response = folder.path().join("response");
        run(ours
            .post(&url, &json_file, "application/json")
            .args(ACCEPT)
            .arg(&response));
        let url = format!("https://127.0.0.1:16443{path}");
        let read = |body: &Path, content_type: &str| {
            let request = theirs.post(&url, body, content_type);
            let object = serde_json::from_str(&run(&mut real.beside(&request)));
            without_times(object.expect("JSON"))
        };
        let (from_protobuf, from_json) =
            (read(&response, PROTOBUF), read(&json, "application/json"));
        assert_eq!(from_protobuf, from_json, "{path}: gatelet's");
    }
}

/// Returns the object without the members that depend on the time and the server.
fn essence(text: &str) -> Value {
    let object: Value = serde_json::from_str(text).expect("JSON");
    assert_ne!(object["kind"], "Status", "{text}");
    without_times(object)
}

fn without_times(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().expect("it is there");
    for field in ["uid", "creationTimestamp", "managedFields"] {
        metadata.remove(field);
    }
    object
}

/// The credentials for a server.
struct Keys<'p> {
    ca: &'p Path,
    certificate: &'p Path,
    key: &'p Path,
}

impl Keys<'_> {
    fn post(&self, url: &str, body: &Path, content_type: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-m",
            "20",
            "-H",
            &format!("Content-Type: {content_type}"),
        ]);
        curl.arg("--cacert")
            .arg(self.ca)
            .arg("--cert")
            .arg(self.certificate)
            .arg("--key")
            .arg(self.key);
        curl.arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg(url);
        curl
    }
}
