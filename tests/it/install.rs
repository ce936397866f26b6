//! `install.sh` and the systemd unit: their effects on a machine, and systemd's opinion of them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use super::support::{Folder, Gatelet, run, said};

const PROGRAM: &str = "usr/local/bin/gatelet";
const CONFIG: &str = "etc/gatelet/gatelet.toml";
const UNIT: &str = "etc/systemd/system/gatelet.service";
const SOCKETS: [&str; 2] = [
    "etc/systemd/system/gatelet-http.socket",
    "etc/systemd/system/gatelet-https.socket",
];
const STATE: &str = "var/lib/gatelet";
const MAN: &str = "usr/local/share/man/man1";
const COMPLETIONS: [&str; 3] = [
    "usr/local/share/bash-completion/completions/gatelet",
    "usr/local/share/zsh/site-functions/_gatelet",
    "usr/local/share/fish/vendor_completions.d/gatelet.fish",
];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `install.sh` on a root directory of the test.
fn install(root: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(here().join("install.sh"));
    command.arg("--root").arg(root.path()).args(arguments);
    command
}

/// Returns every path below a folder with its mode and, for a file, its inode and text.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
        {
            let about = fs::metadata(&path).expect("it is there");
            let text = if about.is_dir() {
                Vec::new()
            } else {
                fs::read(&path).expect("it can be read")
            };
            all.insert(
                path.clone(),
                (about.permissions().mode() & 0o7777, about.ino(), text),
            );
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    all
}

/// Makes a stand-in for another version of the binary: a script that runs the program.
pub fn another_binary(folder: &Folder) -> String {
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_gatelet"));
    let path = folder.write("other", &text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path.to_str().expect("a plain path").to_owned()
}

fn refused(output: &Output, code: i32, why: &str) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(why), "{text}");
}

#[test]
fn it_installs_upgrades_and_uninstalls() {
    let (root, aside) = (Folder::new(), Folder::new());
    let other = another_binary(&aside);
    let mode = |name: &str| {
        fs::metadata(root.path().join(name))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    let text = |name: &str| fs::read_to_string(root.path().join(name)).expect("text");

    run(&mut install(&root, &[&other]));
    assert_eq!(
        (mode(PROGRAM), mode(CONFIG), mode(UNIT), mode(STATE)),
        (0o755, 0o644, 0o644, 0o700)
    );
    assert_eq!(text(CONFIG), include_str!("../../configs/gatelet.toml"));
    assert_eq!(text(UNIT), include_str!("../../systemd/gatelet.service"));
    assert!(run(Command::new(root.path().join(PROGRAM)).arg("version")).starts_with("gatelet "));
    assert!(text(&format!("{MAN}/gatelet-run.1")).contains(".TH gatelet"));
    for script in COMPLETIONS {
        assert!(text(script).contains("kubeconfig"), "{script}");
    }

    // A second run changes nothing.
    let before = contents(root.path());
    run(&mut install(&root, &[&other]));
    assert!(contents(root.path()) == before);

    // Another binary replaces the first one; files of the operator and of gatelet stay.
    fs::write(root.path().join(CONFIG), "grace = \"5s\"\n").expect("it is ours");
    fs::write(root.path().join(STATE).join("ca.pem"), "kept").expect("it is ours");
    run(&mut install(&root, &[env!("CARGO_BIN_EXE_gatelet")]));
    assert_eq!(
        fs::metadata(root.path().join(PROGRAM))
            .expect("it is there")
            .len(),
        binary_length()
    );
    assert_eq!(text(CONFIG), "grace = \"5s\"\n");

    run(&mut install(&root, &["--uninstall"]));
    assert!(!root.path().join(PROGRAM).exists() && !root.path().join(UNIT).exists());
    let manual = fs::read_dir(root.path().join(MAN)).expect("the folder");
    assert_eq!(manual.count(), 0);
    assert!(
        !COMPLETIONS
            .iter()
            .any(|script| root.path().join(script).exists())
    );
    assert_eq!(
        (text(CONFIG), text("var/lib/gatelet/ca.pem")),
        ("grace = \"5s\"\n".to_owned(), "kept".to_owned())
    );
    run(&mut install(&root, &["--uninstall"]));

    run(&mut install(&root, &["--uninstall", "--purge"]));
    let left: Vec<PathBuf> = contents(root.path())
        .into_keys()
        .filter(|path| path.to_string_lossy().contains("gatelet/") || path.is_file())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!root.path().join(STATE).exists() && !root.path().join("etc/gatelet").exists());
}

#[test]
fn a_binary_in_the_current_folder_needs_no_folder_in_its_name() {
    let (root, aside) = (Folder::new(), Folder::new());
    another_binary(&aside);
    run(install(&root, &["other"]).current_dir(aside.path()));
    assert!(root.path().join(MAN).join("gatelet.1").exists());
}

fn binary_length() -> u64 {
    fs::metadata(env!("CARGO_BIN_EXE_gatelet"))
        .expect("it is there")
        .len()
}

#[test]
fn a_dry_run_prints_its_steps_and_changes_nothing() {
    let (root, aside) = (Folder::new(), Folder::new());
    let other = another_binary(&aside);
    let dry = run(&mut install(&root, &["--dry-run", &other]));
    assert!(contents(root.path()).is_empty(), "{dry}");
    let wet = run(&mut install(&root, &[&other]));
    let would: Vec<&str> = dry
        .lines()
        .map(|line| line.trim_start_matches("would run: "))
        .collect();
    assert_eq!(would, wet.lines().collect::<Vec<&str>>());

    let before = contents(root.path());
    let dry = run(&mut install(
        &root,
        &["--dry-run", "--uninstall", "--purge"],
    ));
    assert!(contents(root.path()) == before, "{dry}");
    let wet = run(&mut install(&root, &["--uninstall", "--purge"]));
    let would: Vec<&str> = dry
        .lines()
        .map(|line| line.trim_start_matches("would run: "))
        .collect();
    assert_eq!(would, wet.lines().collect::<Vec<&str>>());
}

#[test]
fn an_impossible_installation_is_refused_before_any_change() {
    let (root, aside) = (Folder::new(), Folder::new());
    let other = another_binary(&aside);
    let attempt = |arguments: &[&str]| install(&root, arguments).output().expect("sh");
    refused(
        &attempt(&["/nowhere/gatelet"]),
        1,
        "/nowhere/gatelet: no such file",
    );
    refused(
        &attempt(&["/bin/echo"]),
        1,
        "/bin/echo is not gatelet: it says \"version\"",
    );
    refused(
        &attempt(&["--frobnicate"]),
        2,
        "unknown option --frobnicate",
    );
    refused(&attempt(&["--purge"]), 2, "--purge goes with --uninstall");
    refused(
        &attempt(&["--uninstall", &other]),
        2,
        "--uninstall takes no binary",
    );
    refused(
        &attempt(&["--root", "/nowhere"]),
        1,
        "--root: /nowhere is not a folder",
    );
    refused(&attempt(&["--root", "/"]), 2, "--root / is this machine");
    refused(
        &attempt(&["--mini-cluster", "--uninstall"]),
        2,
        "--mini-cluster goes with an installation",
    );
    refused(&attempt(&["--k3s"]), 2, "--k3s goes without --root");
    refused(
        &attempt(&["http://127.0.0.1/gatelet"]),
        1,
        "only https:// is downloaded",
    );
    let sum = aside.write("other.sha256", "0000  other\n");
    refused(&attempt(&[&other]), 1, "has not the checksum in");
    assert!(contents(root.path()).is_empty());

    let right = run(Command::new("sha256sum").arg(&other));
    fs::write(sum, right).expect("it is ours");
    assert_eq!(attempt(&[&other]).status.code(), Some(0));
    fs::write(root.path().join(CONFIG), "[log]\nlevel = \"loud\"\n").expect("it is ours");
    let before = contents(root.path());
    let output = attempt(&[env!("CARGO_BIN_EXE_gatelet")]);
    refused(&output, 1, "nothing was changed");
    assert!(
        said(&output).contains("gatelet.toml, line 2: log.level: \"loud\" is not one of"),
        "{}",
        said(&output)
    );
    assert!(contents(root.path()) == before);
}

/// Runs a script with the real `useradd` where /etc, /usr/local and /var/lib are copies that only
/// this process sees, and has processes and a network of its own. Returns its output; `None`
/// without the rights for that.
pub fn as_root(aside: &Folder, script: &str) -> Option<String> {
    const ROOT: &str = r#"
        ip link set lo up
        mkdir "$ASIDE/etc" && cp -a /etc/. "$ASIDE/etc" && mount --bind "$ASIDE/etc" /etc
        for folder in /usr/local /var/lib; do mount -t tmpfs -o mode=0755 none "$folder"; done
        mkdir -p /run/systemd && mount -t tmpfs none /run/systemd
    "#;
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root
        || !Command::new("unshare")
            .args(["--mount", "true"])
            .status()
            .is_ok_and(|status| status.success())
    {
        eprintln!("LEFT OUT: mounts need root");
        return None;
    }

    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--net"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
        .args(["sh", "-ec"])
        .arg(format!("{ROOT}{script}"))
        .env("ASIDE", aside.path())
        .env("INSTALL", here().join("install.sh"))
        .env("PEERS", here().join("target/peers"))
        .env("GATELET", env!("CARGO_BIN_EXE_gatelet"))
        .env("BINARY", another_binary(aside));
    Some(run(&mut command))
}

#[test]
fn as_root_it_makes_the_user_and_enables_the_service() {
    let aside = Folder::new();
    let script = r#"
        ! id gatelet
        "$INSTALL" "$BINARY"
        stat -c '%U:%G %a' /var/lib/gatelet
        getent passwd gatelet
        systemctl is-enabled gatelet.service
        "$INSTALL" "$BINARY" | grep -c unchanged
        "$INSTALL" --uninstall
        id -un gatelet
        stat -c '%U:%G %a' /var/lib/gatelet
        "$INSTALL" --uninstall --purge
        ! id gatelet
        ! ls -d /etc/systemd/system/multi-user.target.wants/gatelet.service
        ! ls -d /var/lib/gatelet /etc/gatelet
        echo gone
    "#;
    let Some(text) = as_root(&aside, script) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines
            .iter()
            .filter(|line| **line == "gatelet:gatelet 700")
            .count(),
        2,
        "{text}"
    );
    let user = lines
        .iter()
        .find(|line| line.starts_with("gatelet:x:"))
        .expect("its entry");
    assert!(
        user.ends_with(":/var/lib/gatelet:/usr/sbin/nologin"),
        "{user}"
    );
    for line in ["enabled", "4", "gatelet", "gone"] {
        assert!(lines.contains(&line), "{line} in {text}");
    }
}

/// With a `systemctl` that starts nothing.
#[test]
fn an_upgrade_that_does_not_become_ready_is_taken_back() {
    let aside = Folder::new();
    let script = r#"
        export PATH=/usr/local/bin:$PATH
        mkdir -p /run/systemd/system /usr/local/bin
        printf '#!/bin/sh\necho "called: $*"\ntest "$1" != try-restart || exit "$(cat %s/code)"\n' \
            "$ASIDE" >/usr/local/bin/systemctl
        chmod 755 /usr/local/bin/systemctl
        "$INSTALL" "$BINARY"
        cp "$BINARY" "$ASIDE/next" && echo '# the next version' >>"$ASIDE/next"
        echo 1 >"$ASIDE/code"
        ! "$INSTALL" "$ASIDE/next" 2>&1
        cmp "$BINARY" /usr/local/bin/gatelet && echo 'the old one is there'
        echo 0 >"$ASIDE/code"
        "$INSTALL" "$ASIDE/next"
        cmp "$ASIDE/next" /usr/local/bin/gatelet && echo 'the next one is there'
        if ls /usr/local/bin/*.old /etc/systemd/system/*.old 2>/dev/null; then exit 1; fi
    "#;
    let Some(text) = as_root(&aside, script) else {
        return;
    };
    for line in [
        "called: start gatelet.service",
        "called: restart gatelet.service",
        "the old one is there",
        "the next one is there",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
    assert!(text.contains("the old one serves again"), "{text}");
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_confined() {
    let root = Folder::new();
    run(&mut install(&root, &[env!("CARGO_BIN_EXE_gatelet")]));
    let unit = fs::read_to_string(root.path().join(UNIT)).expect("text");
    let program = root.path().join(PROGRAM);
    let unit = root.write(
        "gatelet.service",
        &unit.replace("/usr/local/bin/gatelet", program.to_str().expect("plain")),
    );
    let sockets = SOCKETS.map(|socket| {
        let text = fs::read_to_string(root.path().join(socket)).expect("text");
        root.write(socket.rsplit('/').next().expect("a name"), &text)
    });
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .args(sockets)
        .output()
        .expect("systemd");
    // systemd only reports unknown settings.
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{}",
        said(&output)
    );
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(&unit));
}

#[test]
fn the_scripts_are_plain_shell() {
    run(Command::new("shellcheck")
        .args(["-s", "sh"])
        .arg(here().join("install.sh"))
        .arg(here().join("openrc/gatelet")));
}

#[test]
fn the_service_manager_learns_of_the_start_and_the_stop_time() {
    let mut gatelet = Gatelet::prepare(&[]);
    let path = gatelet.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket");
    let notified = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).expect("a notification");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    gatelet.configure("grace = \"2m\"\n");
    gatelet.environment("NOTIFY_SOCKET", path.to_str().expect("a plain path"));
    gatelet.spawn();
    assert_eq!(notified(), "READY=1");
    gatelet.wait_ready();
    gatelet.signal("TERM");
    assert_eq!(notified(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=130000000");
    assert_eq!(gatelet.wait().code(), Some(0));
}
