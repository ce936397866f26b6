//! A server that is killed while clients write and watch.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{runtime::Runtime, time::sleep};

use super::support::{Gatelet, backend::ingress, eventually, peers};

const ROUNDS: usize = 10;
const OBJECTS: usize = 25;

fn name(round: usize, number: usize) -> String {
    format!("r{round}-{number}")
}

/// Returns the hosts that a gatelet serves.
fn hosts(gatelet: &Gatelet) -> BTreeSet<String> {
    let status = gatelet.status();
    let hosts = status["hosts"].as_array().unwrap().iter();
    hosts
        .map(|host| host["host"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_watcher_misses_nothing_over_ten_kills_of_the_server() {
    let mut server = Gatelet::start();
    let kubeconfig = server.kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let follower = Gatelet::with(&["--kubeconfig", kubeconfig, "--api", "off"]);

    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let host = |number| format!("{}.example.com", name(round, number));
        let manifests: String = (0..OBJECTS)
            .map(|number| ingress(&name(round, number), &host(number), ""))
            .collect();
        let file = server.folder.write(&format!("{round}.yaml"), &manifests);
        let apply = ["apply", "-f", file.to_str().unwrap()];

        // It is killed while a client writes.
        let mut writing = server.kubectl_command(&apply);
        let writing = writing.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut writing = writing.unwrap();
        eventually("some are written", || {
            hosts(&server).contains(&host(3)).then_some(())
        });
        let written = hosts(&server);
        server.kill();
        writing.wait().unwrap();
        server.spawn();
        server.wait_ready();
        let kept = hosts(&server);
        assert!(written.is_subset(&kept), "{:?}", &written - &kept);

        server.kubectl(&apply);
        server.kubectl(&["delete", "ingress", &name(round, 0)]);
        expected.extend((1..OBJECTS).map(host));
    }

    for gatelet in [&server, &follower] {
        eventually("the same state", || {
            (hosts(gatelet) == expected).then_some(())
        });
    }
}

/// The writers, and the changes that each of them makes.
const WRITERS: usize = 8;
const CHANGES: usize = 1250;
/// The ConfigMaps that each writer changes in turn.
const OWN: usize = 12;
const LABEL: &str = "of=restarts";
/// A pause before a request that failed is made again.
const PAUSE: Duration = Duration::from_millis(20);

/// ConfigMaps by name, with their text.
type Known = BTreeMap<String, String>;

async fn config_maps(kubeconfig: &Path) -> Api<ConfigMap> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Api::default_namespaced(Client::try_from(config.unwrap()).unwrap())
}

fn config_map(name: &str, text: &str) -> ConfigMap {
    serde_json::from_value(serde_json::json!({
        "metadata": { "name": name, "labels": { "of": "restarts" } },
        "data": { "text": text },
    }))
    .unwrap()
}

fn entry(object: ConfigMap) -> (String, String) {
    let text = object.data.and_then(|mut data| data.remove("text"));
    (object.metadata.name.unwrap(), text.unwrap())
}

/// Makes a change until it is acknowledged. A server that was killed may have made it or not.
async fn change(api: &Api<ConfigMap>, name: &str, text: Option<&str>) {
    loop {
        let result = match text {
            None => api.delete(name, &DeleteParams::default()).await.map(drop),
            Some(text) => {
                let object = config_map(name, text);
                let create = api.create(&PostParams::default(), &object).await;
                match create {
                    Err(kube::Error::Api(error)) if error.code == 409 => {
                        let params = PostParams::default();
                        api.replace(name, &params, &object).await.map(drop)
                    }
                    other => other.map(drop),
                }
            }
        };
        match result {
            Ok(()) => return,
            Err(kube::Error::Api(error)) if error.code == 404 && text.is_none() => return,
            Err(_killed) => sleep(PAUSE).await,
        }
    }
}

/// Makes the changes of one writer, and returns what has to be left of its ConfigMaps.
async fn write(api: Api<ConfigMap>, writer: usize, done: Arc<AtomicUsize>) -> Known {
    let mut expected = Known::new();
    for number in 0..CHANGES {
        let name = format!("w{writer}-{}", number % OWN);
        // Every fifth change deletes.
        if number % 5 == 4 {
            change(&api, &name, None).await;
            expected.remove(&name);
        } else {
            let text = format!("change {number}");
            change(&api, &name, Some(&text)).await;
            expected.insert(name, text);
        }
        done.fetch_add(1, Relaxed);
    }
    expected
}

/// Follows the ConfigMaps until one with the name `end` comes. Lists only when the server does not
/// know the version any more.
async fn follow(api: Api<ConfigMap>) -> Known {
    let (mut known, mut version) = (Known::new(), None);
    loop {
        if version.is_none() {
            let Ok(listed) = api.list(&ListParams::default().labels(LABEL)).await else {
                sleep(PAUSE).await;
                continue;
            };
            version = listed.metadata.resource_version;
            known = listed.items.into_iter().map(entry).collect();
        }

        let params = WatchParams::default().labels(LABEL);
        let from = version.clone().unwrap();
        if let Ok(events) = api.watch(&params, &from).await {
            let mut events = std::pin::pin!(events);
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        version = object.metadata.resource_version.clone();
                        known.extend([entry(object)]);
                    }
                    WatchEvent::Deleted(object) => {
                        version = object.metadata.resource_version.clone();
                        let (name, _text) = entry(object);
                        assert!(known.remove(&name).is_some(), "{name} was not known");
                    }
                    WatchEvent::Bookmark(bookmark) => {
                        version = Some(bookmark.metadata.resource_version);
                    }
                    WatchEvent::Error(error) => {
                        assert_eq!(error.code, 410, "{error}");
                        version = None;
                    }
                }
                if known.contains_key("end") {
                    return known;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

#[test]
fn ten_thousand_changes_over_ten_kills_reach_every_watcher() {
    let mut server = Gatelet::start();
    let kubeconfig = server.kubeconfig();
    let python = peers::script("watcher.py")
        .arg(&kubeconfig)
        .arg(LABEL)
        .env("HOME", server.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");

    let runtime = Runtime::new().unwrap();
    let api = || runtime.block_on(config_maps(&kubeconfig));
    let watcher = runtime.spawn(follow(api()));
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| runtime.spawn(write(api(), writer, done.clone())))
        .collect();

    for round in 1..=ROUNDS {
        let until = WRITERS * CHANGES * round / (ROUNDS + 1);
        eventually("some changes are made", || {
            (done.load(Relaxed) >= until).then_some(())
        });
        server.kill();
        server.spawn();
    }

    // What was acknowledged is there, and all watchers end with it.
    let mut expected = Known::new();
    for writer in writers {
        expected.extend(runtime.block_on(writer).unwrap());
    }
    runtime.block_on(change(&api(), "end", Some("")));
    expected.insert("end".to_owned(), String::new());

    let listed = runtime.block_on(api().list(&ListParams::default().labels(LABEL)));
    let listed: Known = listed.unwrap().items.into_iter().map(entry).collect();
    assert_eq!(listed, expected);
    assert_eq!(runtime.block_on(watcher).unwrap(), expected);

    let output = python.wait_with_output().expect("python");
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).expect("its state");
    println!("the Python client listed {} times", seen["lists"]);
    let known: Known = serde_json::from_value(seen["known"].clone()).unwrap();
    assert_eq!(known, expected);
}
