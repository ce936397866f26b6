//! `install.sh` under OpenRC, in k3s, for the mini cluster, and from a folder or a URL.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use super::{
    install::{another_binary, as_root},
    support::{Folder, free_port, run, said},
};

/// The name of this machine's kind in the names of binaries.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "arm" => "armv7",
        other => other,
    }
}

/// With a real OpenRC, of which the packages are unpacked over /usr for this process alone.
#[test]
fn openrc_starts_it_upgrades_it_and_forgets_it() {
    let aside = Folder::new();
    let peers = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/openrc");
    if fs::read_dir(peers).map_or(0, Iterator::count) == 0 {
        eprintln!("LEFT OUT: the packages of OpenRC are not in {peers}");
        return;
    }
    let script = include_str!("install_places/openrc.sh");
    let Some(text) = as_root(&aside, script) else {
        return;
    };
    for line in [
        " * status: started",
        "it serves",
        "gatelet",
        "mode = \"standalone\"",
        "the next one serves",
        "the old one serves",
        "gone",
    ] {
        assert!(text.lines().any(|one| one == line), "{line:?} in {text}");
    }
    assert!(text.contains("gatelet |"), "{text}");
    assert!(text.contains("the old one serves again"), "{text}");
}

/// With a `k3s` and a `systemctl` that do nothing. The image is read by a real tool.
#[test]
fn k3s_gets_the_image_and_the_manifest() {
    let aside = Folder::new();
    let script = include_str!("install_places/k3s.sh");
    let Some(text) = as_root(&aside, script) else {
        return;
    };
    let (first, rest) = text.split_once("again:\n").expect("a second run");
    let (again, upgraded) = rest.split_once("upgraded:\n").expect("an upgrade");

    let import = "called: k3s ctr images import /var/lib/rancher/k3s/agent/images/gatelet.tar";
    assert!(
        first.contains("--k3s: this machine is an agent of k3s"),
        "{text}"
    );
    assert!(first.contains("is not linked statically"), "{text}");
    assert!(first.lines().any(|line| line == import), "{text}");
    assert!(
        first.contains("the Traefik of k3s holds ports 80 and 443"),
        "{text}"
    );
    if run(Command::new("sh").args(["-c", "command -v skopeo || true"])).is_empty() {
        eprintln!("LEFT OUT: there is no skopeo to read the image");
    } else {
        assert!(first.contains("\"User\": \"65532:65532\""), "{text}");
        assert!(first.contains("\"/gatelet\""), "{text}");
        assert!(first.contains("-rwxr-xr-x root/root"), "{text}");
    }

    assert!(!again.contains("called: k3s"), "{text}");
    assert!(again.contains("called: systemctl restart k3s"), "{text}");
    assert!(
        again.lines().any(|line| line == "disable+: [traefik]"),
        "{text}"
    );
    assert!(
        upgraded.contains("rollout restart daemonset/gatelet"),
        "{text}"
    );
    assert!(!upgraded.contains("restart k3s"), "{text}");
    assert!(upgraded.contains("called: k3s kubectl delete"), "{text}");
    assert!(
        text.ends_with("/var/lib/rancher/k3s/server/manifests/traefik.yaml\n"),
        "{text}"
    );
}

/// A web server with TLS; ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn of(folder: &Folder, port: u16) -> Self {
        const SERVE: &str = include_str!("install_places/serve.py");
        run(Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder.path()));
        let mut child = Command::new("python3")
            .args(["-c", SERVE])
            .arg(folder.path())
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
            .expect("a line");
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

#[test]
fn the_binary_for_this_machine_comes_from_a_folder_or_url() {
    let (root, aside) = (Folder::new(), Folder::new());
    let name = format!("gatelet-{}", architecture());
    fs::rename(another_binary(&aside), aside.path().join(&name)).expect("it is ours");
    let installed = root.path().join("usr/local/bin/gatelet");
    let install = |from: &str| {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh"));
        command.arg("--root").arg(root.path()).arg(from);
        command.env("CURL_CA_BUNDLE", aside.path().join("cert.pem"));
        command
    };

    let folder = format!("{}/", aside.path().display());
    run(&mut install(&folder));
    assert!(installed.exists());

    let port = free_port();
    let _server = Server::of(&aside, port);
    let url = format!("https://localhost:{port}/");
    let attempt = |from: &str| install(from).output().expect("sh");
    fs::remove_file(&installed).expect("it is ours");

    // Without a checksum, or with a wrong one, it is not installed.
    let output = attempt(&url);
    assert!(said(&output).contains(&format!("{name}.sha256 cannot be downloaded")));
    aside.write(&format!("{name}.sha256"), "0000  gatelet\n");
    assert!(said(&attempt(&url)).contains("has not the checksum"));
    assert!(!installed.exists());

    let sum = run(Command::new("sha256sum").arg(aside.path().join(&name)));
    aside.write(&format!("{name}.sha256"), &sum);
    run(&mut install(&url));
    assert!(installed.exists());
    let output = attempt(&format!("{url}other"));
    assert!(
        said(&output).contains("other cannot be downloaded"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_mini_cluster_is_chosen_at_the_first_installation() {
    let (root, aside) = (Folder::new(), Folder::new());
    let binary = another_binary(&aside);
    let install = || {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh"));
        command.arg("--root").arg(root.path());
        command.args(["--mini-cluster", &binary]);
        command
    };
    let config = root.path().join("etc/gatelet/gatelet.toml");

    run(&mut install());
    let text = fs::read_to_string(&config).expect("text");
    assert!(text.contains("\nmode = \"standalone\"\n"), "{text}");
    run(&mut install());

    fs::write(&config, "mode = \"auto\"\n").expect("it is ours");
    let output = install().output().expect("sh");
    assert!(
        said(&output).contains("which is yours"),
        "{}",
        said(&output)
    );
    assert_eq!(
        fs::read_to_string(&config).expect("text"),
        "mode = \"auto\"\n"
    );
}
