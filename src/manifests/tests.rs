use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::Arc,
};

use super::{changes::Changes, folder, pass::Pass, *};
use crate::{
    cluster::Local,
    objects::{Key, Kind, RawObject, View},
    util::drain::{self, Signal},
};

/// A folder, and a cluster in memory that it is applied to.
struct Rig {
    folder: PathBuf,
    cluster: Arc<Local>,
    pass: Pass,
    _signal: Signal,
}

impl Rig {
    fn new() -> Self {
        let name = format!("manifests-{}", crate::util::stamp::uid());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let cluster = Arc::new(Local::in_memory().unwrap());
        let (signal, drain) = drain::channel();
        let applier = Applier::new(
            cluster.clone(),
            cluster.clone(),
            "system:gatelet:manifests",
            "gatelet-manifests",
            None,
            drain,
        );
        Self {
            pass: Pass::new(folder.clone(), applier),
            folder,
            cluster,
            _signal: signal,
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).unwrap();
    }

    /// Makes a pass, and returns its findings as `place reason field: message`.
    async fn pass(&mut self) -> Vec<String> {
        let (_folders, findings) = self.pass.run(HashSet::new(), false).await;
        let line = |finding: &Finding| {
            let (place, reason) = (finding.place(), finding.reason.as_str());
            format!("{place} {reason} {}: {}", finding.field, finding.message)
        };
        findings.iter().map(line).collect()
    }

    fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<RawObject>> {
        self.cluster.get(&Key {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.object(Kind::ConfigMap, "default", name).is_some()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.folder);
    }
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
}

#[tokio::test]
async fn files_are_applied_whatever_the_order_of_their_needs() {
    let mut rig = Rig::new();
    rig.write(
        "a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\ndata: {a: b}\n",
    );
    rig.write(
        "deep/z.yml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
    );
    rig.write(
        "list.json",
        r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}}]}"#,
    );
    rig.write("notes.txt", "not a manifest");
    assert_eq!(rig.pass().await, Vec::<String>::new());

    let applied = rig.object(Kind::ConfigMap, "shop", "c").expect("applied");
    let body = String::from_utf8(applied.body.to_vec()).unwrap();
    assert!(
        body.contains(r#""manager":"gatelet-manifests","operation":"Apply""#),
        "{body}"
    );
    assert!(rig.object(Kind::Secret, "default", "s").is_some());
}

#[tokio::test]
async fn an_unchanged_file_writes_nothing_and_a_changed_one_does() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &config_map("a"));
    rig.pass().await;
    let before = rig.cluster.revision();

    // The content is the same: only its time has changed.
    rig.write("a.yaml", &config_map("a"));
    rig.pass().await;
    assert_eq!(rig.cluster.revision(), before);

    rig.write("a.yaml", &config_map("a").replace("a: b", "x: z"));
    rig.pass().await;
    let changed = rig.object(Kind::ConfigMap, "default", "a").unwrap();
    let body = String::from_utf8(changed.body.to_vec()).unwrap();
    assert!(body.contains(r#""data":{"x":"z"}"#), "{body}");
}

#[tokio::test]
async fn a_file_with_a_broken_document_is_not_applied_at_all() {
    let mut rig = Rig::new();
    let whole = format!("{}---\n{}", config_map("a"), config_map("b"));
    rig.write("a.yaml", &whole[..whole.len() - 6]);
    let findings = rig.pass().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].starts_with("a.yaml, document 2 Unreadable : line "),
        "{findings:?}"
    );
    assert!(!rig.has("a"));

    rig.write("a.yaml", &whole);
    assert_eq!(rig.pass().await, Vec::<String>::new());
    assert!(rig.has("a") && rig.has("b"));
}

#[tokio::test]
async fn a_refused_object_is_named_with_its_field() {
    let mut rig = Rig::new();
    let text = format!(
        "{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: s}}\n\
         spec: {{ports: [{{port: 70000}}]}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: t}}\ndatta: {{}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\n---\n\
         apiVersion: x.example/v1\nkind: Thing\nmetadata: {{name: x}}\n---\n{}",
        config_map("first"),
        config_map("last")
    );
    rig.write("web.yaml", &text);
    let findings = rig.pass().await;

    for (finding, expected) in findings.iter().zip([
        "web.yaml, document 2: Service s Invalid spec.ports[0].port: Invalid value: 70000",
        "web.yaml, document 2: Service s Invalid spec.ports[0].targetPort: Invalid value: 70000",
        "web.yaml, document 3: ConfigMap t Invalid datta: field not declared in schema",
        "web.yaml, document 4: Deployment d Invalid : deployments.apps cannot be created: this",
        "web.yaml, document 5: Thing x Invalid : there is no kind \"Thing\" in version",
    ]) {
        assert!(finding.starts_with(expected), "{finding}\n{expected}");
    }
    assert_eq!(findings.len(), 5, "{findings:?}");
    assert!(rig.has("first") && rig.has("last"));
}

#[tokio::test]
async fn objects_outlive_their_file_and_skipped_files_wait() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &config_map("a"));
    rig.write("b.yaml", &config_map("b"));
    rig.write("b.yaml.skip", "");
    rig.write(".hidden.yaml", &config_map("hidden"));
    assert_eq!(rig.pass().await, Vec::<String>::new());
    assert!(rig.has("a") && !rig.has("b") && !rig.has("hidden"));

    rig.remove("a.yaml");
    rig.remove("b.yaml.skip");
    assert_eq!(rig.pass().await, Vec::<String>::new());
    assert!(rig.has("a") && rig.has("b"));
}

#[tokio::test]
async fn the_first_of_two_files_with_an_object_counts() {
    let mut rig = Rig::new();
    rig.write("a.yaml", &config_map("same"));
    rig.write("b.yaml", &config_map("same").replace("a: b", "x: z"));
    assert_eq!(
        rig.pass().await,
        ["b.yaml, document 1: ConfigMap same Duplicate : a.yaml has this object too, and counts"]
    );

    rig.remove("a.yaml");
    assert_eq!(rig.pass().await, Vec::<String>::new());
    let object = rig.object(Kind::ConfigMap, "default", "same").unwrap();
    let body = String::from_utf8(object.body.to_vec()).unwrap();
    assert!(body.contains(r#""data":{"x":"z"}"#), "{body}");
}

#[tokio::test]
async fn what_is_no_manifest_is_reported_and_harms_no_other() {
    let mut rig = Rig::new();
    rig.write("good.yaml", &config_map("good"));
    rig.write("linked/target.txt", &config_map("linked"));
    symlink("linked/target.txt", rig.folder.join("link.yaml")).unwrap();
    symlink(".", rig.folder.join("linked/up")).unwrap();
    symlink("loop.yaml", rig.folder.join("loop.yaml")).unwrap();
    symlink("absent", rig.folder.join("nowhere.yaml")).unwrap();
    let pipe = rig.folder.join("pipe.yaml");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    fs::write(rig.folder.join("binary.yaml"), [0xff, 0xfe]).unwrap();
    let huge = File::create(rig.folder.join("huge.yaml")).unwrap();
    huge.set_len(folder::MAX_FILE + 1).unwrap();

    let mut findings = rig.pass().await;
    findings.sort();
    let expected = [
        "binary.yaml Unreadable : it is not text in UTF-8",
        "huge.yaml Unreadable : it is over 8388608 bytes",
        "linked/up Skipped : a link to a folder is not followed",
        "loop.yaml Unreadable : Too many levels of symbolic links",
        "nowhere.yaml Unreadable : No such file",
        "pipe.yaml Unreadable : it is not a regular file",
    ];
    assert_eq!(findings.len(), expected.len(), "{findings:?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.starts_with(expected), "{finding}\n{expected}");
    }
    assert!(rig.has("good") && rig.has("linked"));
}

#[tokio::test]
async fn too_many_files_are_counted_and_reported() {
    let rig = Rig::new();
    for number in 0..2003 {
        rig.write(&format!("{number:04}.yaml"), "");
    }
    let scan = folder::scan(&rig.folder);
    assert_eq!(scan.files.len(), 2000);
    let places: Vec<_> = scan.findings.iter().map(|one| &*one.file).collect();
    assert_eq!(places, ["2000.yaml"]);
}

#[tokio::test]
async fn a_file_is_busy_until_its_writer_closes_it() {
    let rig = Rig::new();
    let mut changes = Changes::new();
    assert!(changes.watch(std::slice::from_ref(&rig.folder)));
    let path = rig.folder.join("slow.yaml");

    let mut file = File::create(&path).unwrap();
    file.write_all(b"apiVersion: v1\n").unwrap();
    changes.next().await;
    assert_eq!(changes.busy(), HashSet::from([path]));

    drop(file);
    changes.next().await;
    assert_eq!(changes.busy(), HashSet::new());
}

#[tokio::test]
async fn a_busy_file_is_read_when_it_is_closed() {
    let mut rig = Rig::new();
    rig.write("slow.yaml", &config_map("slow"));
    let busy = HashSet::from([rig.folder.join("slow.yaml")]);

    let (_folders, findings) = rig.pass.run(busy.clone(), false).await;
    assert_eq!(findings, []);
    let (_folders, findings) = rig.pass.run(busy, true).await;
    assert_eq!(findings.len(), 1);
    assert!(findings[0].reason.is_note() && !rig.has("slow"));

    assert_eq!(rig.pass().await, Vec::<String>::new());
    assert!(rig.has("slow"));
}

#[tokio::test]
async fn the_follower_applies_what_appears_and_reports_it() {
    let mut rig = Rig::new();
    let (signal, drain) = drain::channel();
    let cluster = rig.cluster.clone();
    let applier = Applier::new(cluster.clone(), cluster, "u", "m", None, drain);
    let (manifests, mut findings) = Manifests::new(rig.folder.clone(), applier);
    let running = tokio::spawn(manifests.run());
    findings.changed().await.unwrap();
    assert!(findings.borrow_and_update().is_empty());

    rig.write("bad.yaml", "a: [");
    findings.wait_for(|all| all.len() == 1).await.unwrap();
    rig.write("bad.yaml", &config_map("good"));
    findings.wait_for(|all| all.is_empty()).await.unwrap();
    assert!(rig.has("good"));

    running.abort();
    drop(signal);
    let _unused = &mut rig.pass;
}
