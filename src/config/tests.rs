use super::*;

const REFERENCE: &str = include_str!("../../configs/gatelet.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let path = Path::new("gatelet.toml");
    File::parse(path, text)?
        .put_over(&mut config)
        .map_err(|error| error.in_file(path, text))?;
    config.check()?;
    Ok(config)
}

/// A line of the reference file, set if it is one of a key.
fn uncomment(line: &str) -> &str {
    let set = |rest: &&str| {
        (rest.contains(" = ") && !rest.contains(": "))
            || rest.starts_with("[issuers")
            || rest.starts_with("[[issuers")
    };
    line.strip_prefix("# ").filter(set).unwrap_or(line)
}

#[test]
fn the_reference_file_says_the_defaults() {
    assert_eq!(parse(REFERENCE).expect("good"), Config::default());
}

#[test]
fn the_reference_file_names_every_key_and_each_commented_one_parses() {
    let source = concat!(include_str!("file.rs"), include_str!("issuers.rs"));
    let issuers = [
        "pub(super) struct IssuerTable",
        "struct EabTable",
        "struct DnsTable",
        "struct KeyTable",
    ];
    for section in [
        "pub(super) struct File",
        "struct Tls",
        "struct Log",
        "struct Proxy",
    ]
    .iter()
    .chain(&issuers)
    {
        let body = source
            .split(&format!("{section} {{"))
            .nth(1)
            .expect("there")
            .split("\n}")
            .next()
            .expect("its body");
        for key in body
            .lines()
            .filter_map(|line| line.trim().split_once(": Option<"))
            .map(|(key, _)| key)
        {
            let set = |line: &str| {
                line.trim_start_matches("# ")
                    .starts_with(&format!("{key} = "))
            };
            let named = REFERENCE.lines().any(|line| {
                set(line) || line.starts_with(&format!("# [issuers.{key}]")) || line == format!("# [issuers.dns.{key}]")
                    // Where the reference file has the other of two keys.
                    || (issuers::is_secret(key) && line.contains(&format!("{key} can hold")))
            });
            assert!(named, "{key} is not in configs/gatelet.toml");
        }
    }
    let uncommented: Vec<&str> = REFERENCE.lines().map(uncomment).collect();
    let config = parse(&uncommented.join("\n")).expect("good");
    assert_eq!(config.proxy.max_body_bytes, Some(1 << 30));
    assert_eq!(config.log.access, Some(1.0));
    assert_eq!(config.node, "pi1");
    let names: Vec<&str> = config
        .issuers
        .iter()
        .map(|issuer| issuer.name.as_str())
        .collect();
    assert_eq!(names, ["letsencrypt", "lab", "home", "hook", "script"]);
}

#[test]
fn errors_name_file_line_and_what_is_allowed() {
    for (text, line, parts) in [
        ("\nhtpp = \"off\"", 2, ["unknown field `htpp`", "`http`"]),
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
        ("[proxy]\nmax_attempts = 0", "proxy.max_attempts"),
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
    config.flags(&Flags {
        node: Some("pi2".to_owned()),
        http,
        publish: publish.clone(),
        ..Flags::default()
    });
    assert_eq!(
        (config.node.as_str(), config.http, &config.publish),
        ("pi2", http, &publish)
    );
    config.flags(&Flags::default());
    assert_eq!(
        (config.node.as_str(), config.http, &config.publish),
        ("pi2", http, &publish)
    );
}

#[test]
fn every_key_of_the_reference_file_is_shown_with_its_value_and_origin() {
    let uncommented: Vec<&str> = REFERENCE.lines().map(uncomment).collect();
    let text = uncommented.join("\n");
    let lines = effective::lines(&text);
    let config = parse(&text).expect("good");
    let mut shown = config.settings(Path::new("gatelet.toml"), &lines, &|key| {
        (key == "node").then(|| "GATELET_NODE".to_owned())
    });
    shown.extend(effective::issuers(Path::new("gatelet.toml"), &text));
    let keys: Vec<&str> = shown.iter().map(|setting| &*setting.key).collect();
    let expected: Vec<String> = lines.keys().cloned().collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "the reference file and the list differ");
    let by_line: Vec<usize> = keys
        .iter()
        .map(|key| lines[*key])
        .filter(|line| *line > lines["grace"])
        .collect();
    assert!(
        by_line.is_sorted(),
        "the sections are in the order of the file"
    );
    for setting in &shown {
        let line = text.lines().nth(lines[&*setting.key] - 1).expect("a line");
        let written: toml::Table = toml::from_str(line).expect("one key");
        let name = setting.key.rsplit('.').next().expect("a name");
        assert_eq!(
            serde_json::to_value(&written[name]).expect("JSON"),
            setting.value,
            "{}",
            setting.key
        );
    }
    let origin = |key| {
        shown
            .iter()
            .find(|setting| setting.key == key)
            .expect("shown")
            .from
            .to_string()
    };
    assert_eq!(origin("node"), "GATELET_NODE");
    assert_eq!(
        origin("api"),
        format!("gatelet.toml, line {}", lines["api"])
    );
    let defaults = Config::default().settings(Path::new(""), &BTreeMap::new(), &|_| None);
    assert!(
        defaults
            .iter()
            .all(|setting| setting.from == Origin::Default)
    );
}

mod issuers_of_the_file;
