use super::*;

const REFERENCE: &str = include_str!("../../configs/gatelet.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    File::parse(Path::new("gatelet.toml"), text)?.put_over(&mut config);
    config.check()?;
    Ok(config)
}

#[test]
fn the_reference_file_says_the_defaults() {
    assert_eq!(parse(REFERENCE).expect("good"), Config::default());
}

#[test]
fn the_reference_file_names_every_key_and_each_commented_one_parses() {
    let source = include_str!("file.rs");
    for section in ["pub(super) struct File", "struct Tls", "struct Log", "struct Proxy"] {
        let body = source.split(&format!("{section} {{")).nth(1).expect("there").split("\n}").next().expect("its body");
        for key in body.lines().filter_map(|line| line.trim().split_once(": Option<")).map(|(key, _)| key) {
            let named = REFERENCE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            assert!(named, "{key} is not in configs/gatelet.toml");
        }
    }
    let uncommented: Vec<&str> = REFERENCE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ") && !rest.contains(": ")).unwrap_or(line))
        .collect();
    let config = parse(&uncommented.join("\n")).expect("good");
    assert_eq!(config.proxy.max_body_bytes, Some(1 << 30));
    assert_eq!(config.log.access, Some(1.0));
    assert_eq!(config.node, "pi1");
}

#[test]
fn errors_name_file_line_and_what_is_allowed() {
    for (text, line, parts) in [
        ("\nhtpp = \"off\"", 2, ["unknown field `htpp`", "`http`"]),
        ("mode = \"cluster\"", 1, ["unknown variant `cluster`", "`standalone`"]),
        ("[proxy]\nconnect_timeout = \"soon\"", 2, ["\"soon\" is not a duration", "30s"]),
        ("[proxy]\nmax_body_bytes = -1", 2, ["negative", "negative"]),
        ("api = \"7443\"", 1, ["\"7443\" is neither an address", "off"]),
        ("workers = \"four\"", 1, ["invalid type", "usize"]),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(&format!("gatelet.toml, line {line}: ")), "{error}");
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
    let mut config = parse("node = \"pi1\"\nhttp = \"off\"").expect("good");
    let http = Some("127.0.0.1:80".parse().expect("an address"));
    config.flags(&Flags { node: Some("pi2".to_owned()), http, ..Flags::default() });
    assert_eq!((config.node.as_str(), config.http), ("pi2", http));
    config.flags(&Flags::default());
    assert_eq!((config.node.as_str(), config.http), ("pi2", http));
}
