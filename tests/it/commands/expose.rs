//! `expose`: one command to a served host.

use super::*;

fn served_by(gatelet: &Gatelet, host: &str, path: &str, backend: &str) {
    eventually("the new backend answers", || {
        (gatelet.status_of(host, path) == 200
            && gatelet.get(host, path).starts_with(&format!("{backend}\n")))
        .then_some(())
    });
}

#[test]
fn a_process_of_this_device_is_exposed_and_moved() {
    let gatelet = Gatelet::start();
    let (one, two, api) = (
        Backend::start("one"),
        Backend::start("two"),
        Backend::start("api"),
    );
    let to = |backend: &Backend| format!("127.0.0.1:{}", backend.port);
    let expose = |arguments: &[&str]| good(gatelet.command(&[&["expose"], arguments].concat()));

    let said = expose(&["app.example.com", "--to", &to(&one)]);
    assert_eq!(
        said,
        "service/app-example-com created\nendpointslice/app-example-com-ipv4 \
            created\ningress/app-example-com created\n"
    );
    served_by(&gatelet, "app.example.com", "/", "one");
    assert!(!expose(&["app.example.com", "--to", &to(&one)]).contains("configured"));

    // Another port changes the same objects. kubectl and `expose` see the same state.
    let said = expose(&["app.example.com", "--to", &to(&two)]);
    assert_eq!(
        said,
        "service/app-example-com configured\nendpointslice/app-example-com-ipv4 \
            configured\ningress/app-example-com unchanged\n"
    );
    served_by(&gatelet, "app.example.com", "/", "two");
    let names = gatelet.kubectl(&["get", "service,endpointslice,ingress", "-o", "name"]);
    assert_eq!(names.lines().count(), 3, "{names}");

    // A path of the same host has objects of its own; a wildcard and a name too.
    expose(&[
        "app.example.com",
        "--to",
        &format!("localhost:{}", api.port),
        "--path",
        "/api",
    ]);
    served_by(&gatelet, "app.example.com", "/api/x", "api");
    served_by(&gatelet, "app.example.com", "/apix", "two");
    expose(&["*.example.org", "--to", &to(&one), "--name", "stars"]);
    served_by(&gatelet, "any.example.org", "/", "one");
    // With an explicit name, the host can change.
    expose(&["*.example.net", "--to", &to(&one), "--name", "stars"]);
    served_by(&gatelet, "any.example.net", "/", "one");
    assert_eq!(gatelet.status_of("any.example.org", "/"), 404);

    // TLS is switched on, and off again.
    expose(&["app.example.com", "--to", &to(&two), "--tls"]);
    eventually("plain HTTP is redirected", || {
        (gatelet.status_of("app.example.com", "/") == 308).then_some(())
    });
    // A certificate of an issuer is added, and removed again.
    let issuer = || {
        let path = "jsonpath={.metadata.annotations} {.spec.tls[*].hosts}";
        gatelet
            .kubectl(&["get", "ingress", "app-example-com", "-o", path])
            .trim()
            .to_owned()
    };
    expose(&["app.example.com", "--to", &to(&two), "--issuer", "local-ca"]);
    assert_eq!(
        issuer(),
        r#"{"gatelet.dev/issuer":"local-ca"} ["app.example.com"]"#
    );
    expose(&["app.example.com", "--to", &to(&two), "--tls"]);
    assert_eq!(issuer(), r#"["app.example.com"]"#);
    expose(&["app.example.com", "--to", &to(&two)]);
    served_by(&gatelet, "app.example.com", "/", "two");

    // Addresses of another machine, at last of IPv6: the slice of the other family is deleted.
    let slices = || {
        let columns = "jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations} \
             {.endpoints[*].addresses}{\"\\n\"}{end}";
        let service = "kubernetes.io/service-name=app-example-com";
        gatelet.kubectl(&["get", "endpointslice", "-l", service, "-o", columns])
    };
    expose(&["app.example.com", "--to", "10.1.2.3:8080"]);
    assert_eq!(slices().trim(), "app-example-com-ipv4  [\"10.1.2.3\"]");
    let said = expose(&["app.example.com", "--to", "[2001:db8::5]:8080"]);
    assert!(
        said.ends_with("endpointslice/app-example-com-ipv4 deleted\n"),
        "{said}"
    );
    assert_eq!(slices().trim(), "app-example-com-ipv6  [\"2001:db8::5\"]");
}

#[test]
fn printed_objects_can_be_applied() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("app");
    let to = format!("127.0.0.1:{}", backend.port);
    let mut dry = program();
    dry.args([
        "expose",
        "app.example.com",
        "--to",
        &to,
        "--dry-run",
        "--state",
        "/nowhere",
    ])
    .env("GATELET_NODE", "test");
    // The node's name is a setting of `run`; here a file sets it.
    let config = gatelet.folder.write("node.toml", "node = \"test\"\n");
    let printed = good(
        dry.arg("--config")
            .arg(&config)
            .output()
            .expect("gatelet runs"),
    );
    let objects: Vec<Value> = serde_saphyr::from_multiple(&printed).expect("YAML");
    let kinds: Vec<&str> = objects
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["Service", "EndpointSlice", "Ingress"]);
    assert_eq!(
        gatelet.kubectl(&["get", "ingress", "-o", "name"]),
        "",
        "nothing is written"
    );

    let file = gatelet.folder.write("printed.yaml", &printed);
    let output = program()
        .arg("check")
        .arg(&file)
        .output()
        .expect("gatelet runs");
    assert_eq!(good(output), "3 objects checked, 0 warnings\n");
    gatelet.serve(&printed, "app.example.com");
    assert!(gatelet.get("app.example.com", "/").starts_with("app\n"));

    // A certificate of Let's Encrypt is only printed, because no test may call that CA.
    for tls in [
        &["--tls", "auto"][..],
        &["--tls=auto"],
        &["--issuer", "letsencrypt"],
    ] {
        let mut auto = program();
        auto.args([
            "expose",
            "app.example.com",
            "--to",
            &to,
            "--dry-run",
            "-o",
            "json",
        ])
        .args(tls);
        let list = json(auto.output().expect("gatelet runs"));
        assert_eq!(
            list["items"][2]["metadata"]["annotations"]["gatelet.dev/issuer"],
            "letsencrypt"
        );
    }
    let list = json(gatelet.command(&["expose", "app.example.com", "--to", &to, "-o", "json"]));
    assert_eq!(
        (&list["kind"], list["items"].as_array().map(Vec::len)),
        (&"List".into(), Some(3))
    );
    assert_eq!(list["items"][0], objects[0]);
    let written = good(gatelet.command(&["expose", "app.example.com", "--to", &to, "-o", "yaml"]));
    assert_eq!(
        serde_saphyr::from_multiple::<Value>(&written)
            .expect("YAML")
            .len(),
        3
    );
}

#[test]
fn a_mistake_is_reported_and_nothing_is_written() {
    let gatelet = Gatelet::start();
    let expose = |arguments: &[&str], code: i32| {
        bad(&gatelet.command(&[&["expose"], arguments].concat()), code)
    };
    for (arguments, part) in [
        (
            &["app.example.com", "--to", "3000"][..],
            "\"3000\" is not an address with a port (127.0.0.1:3000",
        ),
        (&["app.example.com"], "--to <ADDR:PORT>"),
        (&["app example", "--to", "127.0.0.1:1"], "not allowed"),
        (
            &["10.0.0.1", "--to", "127.0.0.1:1"],
            "is an address; rules are for host names",
        ),
        (
            &["app.example.com", "--to", "127.0.0.9:1"],
            "only 127.0.0.1 can",
        ),
        (
            &["app.example.com", "--to", "127.0.0.1:1", "--path", "api"],
            "does not begin with /",
        ),
        (
            &["app.example.com", "--to", "127.0.0.1:1", "--tls", "always"],
            "invalid value 'always'",
        ),
        (
            &["--tls", "app.example.com", "--to", "127.0.0.1:1"],
            "the host goes before it: gatelet expose HOST --tls",
        ),
        (
            &["--tls", "auto", "--to", "127.0.0.1:1"],
            "Usage: gatelet expose <HOST> --to",
        ),
    ] {
        let message = expose(arguments, 2);
        assert!(message.contains(part), "{message}");
    }
    let message = expose(
        &[
            "app.example.com",
            "--to",
            "10.0.0.5:1",
            "--namespace",
            "none",
        ],
        1,
    );
    assert!(
        message.contains("namespaces \"none\" not found")
            && message.contains("kubectl create namespace none"),
        "{message}"
    );
    let message = expose(
        &[
            "app.example.com",
            "--to",
            "10.0.0.5:1",
            "--name",
            "Not_A_Name",
        ],
        1,
    );
    assert!(
        message.contains("metadata.name: Invalid value: \"Not_A_Name\""),
        "{message}"
    );
    // Only the last object is invalid.
    let message = expose(&["under_score.example.com", "--to", "10.0.0.5:1"], 1);
    assert!(
        message.contains("spec.rules[0].host: Invalid value: \"under_score.example.com\""),
        "{message}"
    );
    assert_eq!(
        gatelet.kubectl(&["get", "service,endpointslice,ingress", "-A", "-o", "name"]),
        ""
    );

    // Objects of other writers stay unchanged, and two hosts with similar names do not collide.
    gatelet.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: theirs}\nspec: {ports: [{port: 80}]}\n",
    );
    let message = expose(
        &["app.example.com", "--to", "10.0.0.5:1", "--name", "theirs"],
        1,
    );
    assert!(
        message.contains(
            "Service default/theirs exists and was not written by `gatelet expose`; choose another \
                name with --name"
        ),
        "{message}"
    );
    good(gatelet.command(&["expose", "a-b.example.com", "--to", "10.0.0.5:1"]));
    let message = expose(&["a.b.example.com", "--to", "10.0.0.5:1"], 1);
    assert!(
        message.contains(
            "Ingress default/a-b-example-com exists for a-b.example.com/; choose another name"
        ),
        "{message}"
    );

    // A port without a listener causes a note.
    let port = free_port();
    let output = gatelet.command(&[
        "expose",
        "late.example.com",
        "--to",
        &format!("127.0.0.1:{port}"),
    ]);
    assert!(
        output.status.success()
            && said(&output).contains(&format!("nothing answers on 127.0.0.1:{port} yet")),
        "{}",
        said(&output)
    );
}

#[test]
fn without_a_running_gatelet_expose_says_so() {
    let folder = Folder::new();
    let state = folder.path().join("state");
    let mut command = program();
    command
        .args([
            "expose",
            "app.example.com",
            "--to",
            "127.0.0.1:3000",
            "--state",
        ])
        .arg(&state);
    let message = bad(&command.output().expect("gatelet runs"), 3);
    assert!(
        message.contains(&state.join("kubeconfig").display().to_string())
            && message.contains("--state"),
        "{message}"
    );

    let mut gatelet = Gatelet::start();
    gatelet.kill();
    let message = bad(
        &gatelet.command(&["expose", "app.example.com", "--to", "127.0.0.1:3000"]),
        3,
    );
    assert!(
        message.contains("no gatelet answers") && message.contains("is it running?"),
        "{message}"
    );
}
