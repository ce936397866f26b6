//! The state folder: as the only source, damaged, full, read-only, in use, and idle.

use std::{
    fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, thread, time::Duration,
};

use super::support::{Backend, Connection, Gatelet, backend, can_mount, eventually, run, said};

const HOST: &str = "store.example.com";

#[test]
fn without_its_api_it_serves_the_stored_objects() {
    let mut gatelet = Gatelet::start();
    let backend = Backend::start("store");
    gatelet.serve(&backend.manifests("store", HOST), HOST);
    let private = |name: &str| {
        fs::metadata(gatelet.state().join(name))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (private("."), private("kubeconfig"), private("ca.pem")),
        (0o700, 0o600, 0o644)
    );
    assert_eq!(
        (private("store"), private("mirror"), private("lock")),
        (0o700, 0o600, 0o600)
    );
    let root = run(Command::new("cat").arg(gatelet.state().join("ca.pem")));
    gatelet.signal("TERM");
    assert_eq!(gatelet.wait().code(), Some(0));
    let mut gatelet = gatelet.again(&["--api", "off"]);
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
    assert_eq!(
        run(Command::new("cat").arg(gatelet.state().join("ca.pem"))),
        root,
        "the same local CA"
    );
    assert!(run(&mut gatelet.curl_tls(HOST, "/")).starts_with("store\n"));
    gatelet.kill();
}

/// Returns whether a file of the store or its mirror contains one of these.
fn is_on_disk(gatelet: &Gatelet, texts: &[&str]) -> bool {
    let store = fs::read_dir(gatelet.state().join("store"))
        .expect("readable")
        .flatten()
        .map(|entry| entry.path());
    store
        .chain([gatelet.state().join("mirror")])
        .filter(|path| path.is_file())
        .any(|path| {
            let bytes = fs::read(path).expect("readable");
            texts.iter().any(|text| {
                bytes
                    .windows(text.len())
                    .any(|found| found == text.as_bytes())
            })
        })
}

#[test]
fn a_sealed_state_needs_its_key_and_shows_no_private_key() {
    // A PEM key as text and in base64, and the content of the Secret below.
    const KEYS: [&str; 3] = [
        "PRIVATE KEY",
        "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t",
        "c2VjcmV0IG9mIHRoZSB0ZXN0",
    ];
    const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME}\ndata: {key: \
        c2VjcmV0IG9mIHRoZSB0ZXN0}\n";
    let mut gatelet = Gatelet::start();
    let backend = Backend::start("sealed");
    gatelet.serve(&backend.manifests("sealed", HOST), HOST);
    gatelet.apply(&SECRET.replace("NAME", "before"));
    let root = fs::read(gatelet.state().join("ca.pem")).expect("the local CA");
    gatelet.signal("TERM");
    assert_eq!(gatelet.wait().code(), Some(0));
    for text in KEYS {
        assert!(
            is_on_disk(&gatelet, &[text]) || text.starts_with("LS0"),
            "{text}"
        );
    }
    let [key, other] = [("key", [7; 32]), ("other", [8; 32])].map(|(name, bytes)| {
        let path = gatelet.folder.path().join(name);
        fs::write(&path, bytes).expect("a key");
        path.to_str().expect("a plain path").to_owned()
    });
    gatelet.environment("GATELET_SEAL_KEY_FILE", &key);
    let mut gatelet = gatelet.again(&[]);
    assert_eq!(
        fs::read(gatelet.state().join("ca.pem")).expect("the local CA"),
        root,
        "the same local CA"
    );
    assert!(run(&mut gatelet.curl_tls(HOST, "/")).starts_with("sealed\n"));
    gatelet.apply(&SECRET.replace("NAME", "after"));
    gatelet.kill();
    assert!(!is_on_disk(&gatelet, &KEYS));
    let mut commands = [gatelet.run_command(), gatelet.run_command()];
    commands[0].env_remove("GATELET_SEAL_KEY_FILE");
    commands[1].env("GATELET_SEAL_KEY_FILE", other);
    for command in &mut commands {
        let output = command.output().expect("gatelet runs");
        assert!(!output.status.success());
        assert!(
            said(&output).contains("store.seal_key_file"),
            "{}",
            said(&output)
        );
    }
    let gatelet = gatelet.again(&[]);
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
}

#[test]
fn without_its_cluster_it_serves_the_local_copy() {
    const SETTINGS: &str = "[proxy]\nlocal_names = true\n";
    let cluster = Gatelet::configured(SETTINGS);
    let backend = Backend::start("copy");
    let external = "apiVersion: v1
kind: Service
metadata: {name: copy}
spec: {type: ExternalName, externalName: localhost}
---
";
    let ingress = backend::ingress("copy", HOST, "")
        .replace("number: 80", &format!("number: {}", backend.port));
    cluster.serve(&format!("{external}{ingress}"), HOST);
    let kubeconfig = cluster.kubeconfig();
    let mut gatelet =
        Gatelet::prepare(&["--kubeconfig", kubeconfig.to_str().expect("a plain path")]);
    gatelet.configure(SETTINGS);
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
    // The copy is written after a few seconds.
    eventually("the copy is written", || {
        let store =
            String::from_utf8_lossy(&fs::read(gatelet.state().join("store/db")).ok()?).into_owned();
        store.contains("cache/").then_some(())
    });
    let copied = fs::read(&kubeconfig).expect("the kubeconfig");
    let kept = gatelet.folder.path().join("kubeconfig");
    fs::write(&kept, copied).expect("a file");
    drop(cluster);
    gatelet.kill();
    let gatelet = gatelet.again(&["--kubeconfig", kept.to_str().expect("a plain path")]);
    assert!(
        gatelet.get(HOST, "/x").starts_with("copy\nGET /x"),
        "served without the cluster"
    );
    assert!(
        gatelet.log().contains("serving from the local copy"),
        "{}",
        gatelet.log()
    );
}

#[test]
fn damaged_files_are_recovered_and_everything_is_served() {
    let mut gatelet = Gatelet::start();
    let backend = Backend::start("store");
    let hosts: Vec<_> = (0..20).map(|n| format!("s{n}.example.com")).collect();
    let manifests: String = (0..)
        .zip(&hosts)
        .map(|(n, host)| backend.manifests(&format!("store-{n}"), host))
        .collect();
    gatelet.serve(&manifests, &hosts[19]);
    // After a stop everything is on the disk twice.
    gatelet.signal("TERM");
    assert_eq!(gatelet.wait().code(), Some(0));
    let state = gatelet.state();
    let whole = gatelet.folder.path().join("whole");
    let copy = |from: &Path, to: &Path| run(Command::new("cp").arg("-a").arg(from).arg(to));
    copy(&state, &whole);

    let damages: [(&str, fn(&mut Vec<u8>)); 5] = [
        ("emptied", Vec::clear),
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("zeroed", |bytes| bytes.fill(0)),
        ("garbage", |bytes| {
            (0_u32..)
                .zip(bytes)
                .for_each(|(n, byte)| *byte = (n.wrapping_mul(2_654_435_761) >> 13) as u8);
        }),
        ("a flipped byte in the middle", |bytes| {
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0xff;
            }
        }),
    ];
    let files = ["store/db", "store/conf", "mirror"];
    for (file, (what, damage)) in files
        .iter()
        .flat_map(|file| damages.iter().map(move |damage| (file, damage)))
    {
        fs::remove_dir_all(&state).expect("it is there");
        copy(&whole, &state);
        let path = state.join(file);
        let mut bytes = fs::read(&path).expect("it is there");
        damage(&mut bytes);
        fs::write(&path, bytes).expect("it can be written");
        gatelet.spawn();
        gatelet.wait_ready();
        let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
        for host in &hosts {
            assert_eq!(
                connection.get(host, "/").expect("a response").status,
                200,
                "{file} {what}: {host}"
            );
        }
        // New writes are kept.
        gatelet.apply(&backend.manifests("more", "more.example.com"));
        gatelet.kill();
        gatelet.spawn();
        gatelet.wait_ready();
        for host in [&hosts[0], &hosts[19], "more.example.com"] {
            assert_eq!(
                gatelet.status_of(host, "/"),
                200,
                "{file} {what}, restarted: {host}"
            );
        }
        gatelet.kill();
    }
    let log = gatelet.log();
    for text in [
        "set aside, and rebuilt from its mirror",
        "they were restored",
        "the mirror of the state is damaged",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }

    // Both are damaged: nothing is left, and gatelet starts empty.
    for file in files {
        fs::write(state.join(file), "garbage ".repeat(1000)).expect("it can be written");
    }
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(gatelet.status_of(&hosts[0], "/"), 404);
    gatelet.serve(&backend.manifests("anew", HOST), HOST);
}

#[test]
fn files_for_other_programs_are_written_again() {
    let mut gatelet = Gatelet::start();
    let backend = Backend::start("store");
    gatelet.serve(&backend.manifests("store", HOST), HOST);
    let before = fs::read_to_string(gatelet.kubeconfig()).expect("a kubeconfig");
    gatelet.kill();
    fs::remove_file(gatelet.kubeconfig()).expect("it is there");
    fs::write(gatelet.state().join("ca.pem"), "").expect("it is there");
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(
        fs::read_to_string(gatelet.kubeconfig()).expect("a kubeconfig"),
        before
    );
    assert!(run(&mut gatelet.curl_tls(HOST, "/")).starts_with("store\n"));
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_serving() {
    if !can_mount() {
        return;
    }
    let mut gatelet = Gatelet::prepare(&[]);
    gatelet.mounts("mount -t tmpfs -o size=8m none \"$STATE\"");
    gatelet.spawn();
    gatelet.wait_ready();
    let backend = Backend::start("full");
    gatelet.serve(&backend.manifests("full", HOST), HOST);
    let filler = gatelet.inner_state().join("filler");
    let fill = || {
        Command::new("dd")
            .args(["if=/dev/zero", "bs=4k"])
            .arg(format!("of={}", filler.display()))
            .output()
    };
    fill().expect("dd");
    let secret = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: {}}}\n",
            "x".repeat(200_000)
        )
    };
    let path = gatelet.folder.write("big.yaml", &secret("big"));
    let create = |gatelet: &Gatelet| {
        gatelet
            .kubectl_command(&["create", "-f", path.to_str().expect("a plain path")])
            .output()
            .expect("kubectl")
    };
    let refused = create(&gatelet);
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(
        said(&refused).contains("no space left"),
        "{}",
        said(&refused)
    );
    assert_eq!(gatelet.status_of(HOST, "/"), 200, "what there is is served");
    assert!(run(&mut gatelet.curl_tls(HOST, "/")).starts_with("full\n"));
    assert_eq!(
        gatelet.kubectl(&["get", "configmap", "-o", "name"]).trim(),
        "configmap/kube-root-ca.crt",
        "what was refused is not there"
    );
    // Once there is space, writes are accepted again without a restart.
    fs::remove_file(&filler).expect("it is there");
    eventually("writes are taken again", || {
        create(&gatelet).status.success().then_some(())
    });
    gatelet.apply(&backend.manifests("later", "later.example.com"));
    eventually("it is served", || {
        (gatelet.status_of("later.example.com", "/") == 200).then_some(())
    });
}

#[test]
fn a_full_or_read_only_disk_is_reported_and_its_state_served() {
    if !can_mount() {
        return;
    }
    let mut before = Gatelet::start();
    let backend = Backend::start("disk");
    before.serve(&backend.manifests("disk", HOST), HOST);
    before.kill();
    let kept = before.state().display().to_string();
    let read_only = "mount -o remount,ro none \"$STATE\"";
    let full = "dd if=/dev/zero of=\"$STATE/filler\" bs=4k 2>/dev/null || true";
    let cases = [
        (String::new(), read_only, false),
        (String::new(), full, false),
        (format!("cp -a {kept}/. \"$STATE\""), read_only, true),
        (format!("cp -a {kept}/. \"$STATE\""), full, true),
    ];
    for (prepare, spoil, has_state) in cases {
        let mut gatelet = Gatelet::prepare(&[]);
        gatelet.mounts(&format!(
            "mount -t tmpfs -o size=8m none \"$STATE\"\n{prepare}\n{spoil}"
        ));
        gatelet.spawn();
        gatelet.wait_ready();
        let expected = if has_state { 200 } else { 404 };
        assert_eq!(gatelet.status_of(HOST, "/"), expected, "{prepare} {spoil}");
        if has_state {
            assert!(
                run(&mut gatelet.curl_tls(HOST, "/")).starts_with("disk\n"),
                "{prepare} {spoil}"
            );
        }
        let state = gatelet.status()["store"].to_string();
        assert!(
            state.contains("in memory only"),
            "{prepare} {spoil}: {state}"
        );
        assert!(
            gatelet.log().contains("the state cannot be stored"),
            "{prepare} {spoil}: {}",
            gatelet.log()
        );
    }
}

#[test]
fn one_folder_is_for_one_process() {
    let gatelet = Gatelet::start();
    let mut command = super::support::gatelet::program();
    command.args([
        "run",
        "--http",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
        "--api",
        "off",
        "--admin",
        "off",
        "--state",
    ]);
    let output = command.arg(gatelet.state()).output().expect("gatelet");
    assert!(!output.status.success());
    let text = said(&output);
    assert!(
        text.contains("in use by another gatelet") && text.contains("--state"),
        "{text}"
    );
    assert_eq!(gatelet.status_of(HOST, "/"), 404, "the first goes on");
}

#[test]
fn an_idle_process_writes_nothing_to_the_disk() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("idle");
    gatelet.serve(&backend.manifests("idle", HOST), HOST);
    let written = || {
        let io = fs::read_to_string(format!("/proc/{}/io", gatelet.pid())).expect("it runs");
        let field = |name: &str| -> u64 {
            let line = io
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("it is there");
            line.trim().parse().expect("a number")
        };
        field("write_bytes: ")
    };
    // The status of the new Ingress is written a moment after it is served.
    eventually("it comes to rest", || {
        let before = written();
        thread::sleep(Duration::from_secs(1));
        (written() == before).then_some(())
    });
    let before = written();
    thread::sleep(Duration::from_secs(4));
    for _ in 0..20 {
        assert_eq!(gatelet.status_of(HOST, "/"), 200);
    }
    gatelet.kubectl(&["get", "ingress", "-A"]);
    gatelet.apply(&backend.manifests("idle", HOST));
    assert_eq!(
        written(),
        before,
        "neither time, requests, reads nor applying the same write anything"
    );
}
