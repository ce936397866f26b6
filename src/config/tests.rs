use std::collections::BTreeSet;

use super::*;

mod issuers_of_the_file;
mod type_keys;

const REFERENCE: &str = include_str!("../../configs/gatelet.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    let path = Path::new("gatelet.toml");
    let config = file::parse(path, text)?;
    config.check()?;
    Ok(config)
}

/// Returns the text of the reference file with the keys set that are commented out in it.
fn uncommented() -> String {
    let is_setting = |rest: &&str| {
        (rest.contains(" = ") && !rest.contains(": "))
            || rest.starts_with("[issuers")
            || rest.starts_with("[[issuers")
    };
    let lines = REFERENCE.lines().map(|line| {
        let rest = line.strip_prefix("# ").filter(is_setting);
        rest.unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_file_sets_the_defaults() {
    assert_eq!(parse(REFERENCE).expect("good"), Config::default());

    // A key is commented out if and only if it has no default, or one that depends on the machine.
    let set: BTreeSet<String> = keys::keys(REFERENCE)
        .into_iter()
        .map(|key| key.path)
        .collect();
    for setting in effective::settings(&Config::default(), None, &|_| None) {
        let has_default = !setting.value.is_null() && !["state", "node"].contains(&&*setting.key);
        assert_eq!(set.contains(&*setting.key), has_default, "{}", setting.key);
        assert_eq!(setting.from, Origin::Default);
    }
}

#[test]
fn types_reference_file_and_print_have_the_same_keys() {
    let text = uncommented();
    let config = parse(&text).expect("good");
    let path = Path::new("gatelet.toml");
    let printed: Vec<String> = effective::settings(&config, Some((path, &text)), &|_| None)
        .into_iter()
        .map(|setting| setting.key.into_owned())
        .collect();

    // The print follows the order of the file.
    let in_file: Vec<String> = keys::keys(&text).into_iter().map(|key| key.path).collect();
    assert_eq!(printed, in_file);

    // The file shows one of two keys where only one can be set, and names the other beside it.
    let mut in_file: BTreeSet<String> = in_file.iter().map(|key| without_index(key)).collect();
    for key in type_keys::of::<Config>() {
        let name = key.rsplit('.').next().expect("not empty");
        if issuers::is_secret(name) {
            assert!(text.contains(&format!("{name} can hold")), "{key}");
            in_file.insert(key);
        }
    }
    assert_eq!(in_file, type_keys::of::<Config>());
}

/// `issuers[0].name` as `issuers[].name`.
fn without_index(key: &str) -> String {
    key.chars()
        .filter(|c| !c.is_ascii_digit() || !key.starts_with("issuers["))
        .collect()
}

#[test]
fn print_shows_values_as_the_file_writes_them() {
    let text = uncommented();
    let config = parse(&text).expect("good");
    let path = Path::new("gatelet.toml");
    let shown = effective::settings(&config, Some((path, &text)), &|key| {
        (key == "node").then(|| "GATELET_NODE".to_owned())
    });

    for (setting, key) in shown.iter().zip(keys::keys(&text)) {
        let line = text.lines().nth(key.line - 1).expect("a line");
        let written: toml::Table = toml::from_str(line).expect("one key");
        let name = setting.key.rsplit('.').next().expect("a name");
        let written = serde_json::to_value(&written[name]).expect("JSON");
        assert_eq!(written, setting.value, "{}", setting.key);

        let origin = match &*setting.key {
            "node" => "GATELET_NODE".to_owned(),
            _ => format!("gatelet.toml, line {}", key.line),
        };
        assert_eq!(setting.from.to_string(), origin);
    }
}

#[test]
fn every_commented_key_of_the_reference_file_is_read() {
    let config = parse(&uncommented()).expect("good");
    assert_eq!(config.proxy.max_body_bytes, Some(1 << 30));
    assert_eq!(config.log.access, Some(1.0));
    assert_eq!(config.node, "pi1");
    let names: Vec<&str> = config
        .issuers
        .iter()
        .map(|issuer| issuer.name.as_str())
        .collect();
    let expected = [
        "letsencrypt",
        "lab",
        "home",
        "desec",
        "ovh",
        "porkbun",
        "aws",
        "acme-dns",
        "hook",
        "script",
    ];
    assert_eq!(names, expected);
}

#[test]
fn errors_name_file_line_and_allowed_values() {
    for (text, line, parts) in [
        ("\nhtpp = \"off\"", 2, ["unknown field `htpp`", "`issuers`"]),
        (
            "mode = \"cluster\"",
            1,
            ["unknown variant `cluster`", "`standalone`"],
        ),
        (
            "[proxy]\nconnect_timeout = \"soon\"",
            2,
            ["\"soon\" is not a duration", "30s"],
        ),
        ("[proxy]\nmax_body_bytes = -1", 2, ["negative", "negative"]),
        (
            "[proxy]\nworkers = 1",
            2,
            ["unknown field `workers`", "`trusted_proxies`"],
        ),
        (
            "api = \"7443\"",
            1,
            ["\"7443\" is neither an address", "off"],
        ),
        ("workers = \"four\"", 1, ["invalid type", "usize"]),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("gatelet.toml, line {line}: ")),
            "{error}"
        );
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    for (text, field) in [
        ("[log]\nlevel = \"loud\"", "log.level"),
        ("[log]\naccess = 2.0", "log.access"),
        ("default_backend = \"web\"", "default_backend"),
        ("tcp_services = \"map\"", "tcp_services"),
        ("udp_services = \"map/\"", "udp_services"),
        ("nginx_configmap = \"map\"", "nginx_configmap"),
        ("classes = [\"a b\"]", "classes"),
        ("[proxy]\nmax_attempts = 0", "proxy.max_attempts"),
        (
            "[proxy]\nmax_header_bytes = \"4KiB\"",
            "proxy.max_header_bytes",
        ),
        (
            "[proxy]\nexternal_https_port = 0",
            "proxy.external_https_port",
        ),
    ] {
        assert!(parse(text).expect_err(text).to_string().starts_with(field));
    }
}

#[test]
fn flags_win_over_the_file() {
    let mut config =
        parse("node = \"pi1\"\nhttp = \"off\"\npublish = [\"192.0.2.1\"]").expect("good");
    let http = Some("127.0.0.1:80".parse().expect("an address"));
    let publish: Vec<IpAddr> = ["192.0.2.2", "2001:db8::2"]
        .map(|ip| ip.parse().expect("an address"))
        .to_vec();

    let set = Flags {
        node: Some("pi2".to_owned()),
        http,
        publish: publish.clone(),
        ..Flags::default()
    };
    for flags in [set, Flags::default()] {
        flags.put_over(&mut config);
        let now = (config.node.as_str(), config.http, &config.publish);
        assert_eq!(now, ("pi2", http, &publish));
    }
}
