//! File, environment and flags into one typed [`Config`]. Flags win over the environment, it wins
//! over the file, it wins over the defaults, which are all in this module.

mod effective;
mod file;
mod issuers;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;

pub use effective::{Origin, Setting};
use file::File;
pub use issuers::{
    Acme, Challenge, Directory, Dns, DnsProvider, Eab, Issuer, IssuerKind, IssuerProblem,
    Propagation, Secret, TsigAlgorithm, TsigKey, is_issuer_name,
};

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

/// Where objects come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A cluster if this runs in one or a kubeconfig is named, else the mini cluster.
    #[default]
    Auto,
    /// A real cluster.
    Kubernetes,
    /// The mini cluster inside this process.
    Standalone,
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

/// What a client gets whose server name nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownSni {
    /// The default certificate.
    #[default]
    DefaultCertificate,
    /// No handshake.
    Refuse,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The less loaded of two picked at random.
    LeastRequest,
}

/// The treatment of paths with an unsupported guard: an annotation that restricts who may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum UnsupportedGuards {
    /// They return 503.
    #[default]
    Refuse,
    /// They are served without the guard.
    Ignore,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is typed on the command line of `run`; each also from the environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Configuration file [default: /etc/gatelet/gatelet.toml, or the one under XDG_CONFIG_HOME
    /// without root]
    #[arg(long, env = "GATELET_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory [default: /var/lib/gatelet, or the one under XDG_STATE_HOME without root]
    #[arg(long, env = "GATELET_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// File with the key that private keys in the state directory are sealed with
    #[arg(
        id = "store.seal_key_file",
        long = "seal-key-file",
        env = "GATELET_SEAL_KEY_FILE",
        value_name = "FILE"
    )]
    pub seal_key_file: Option<PathBuf>,
    /// Address for HTTP [default: port 80 on all, or 8080 where 80 is not allowed]
    #[arg(long, env = "GATELET_HTTP", value_name = "ADDR:PORT|off")]
    pub http: Option<Listen>,
    /// Address for HTTPS [default: port 443 on all, or 8443 where 443 is not allowed]
    #[arg(long, env = "GATELET_HTTPS", value_name = "ADDR:PORT|off")]
    pub https: Option<Listen>,
    /// Address of the mini cluster's API [default: 127.0.0.1:7443]
    #[arg(long, env = "GATELET_API", value_name = "ADDR:PORT|off")]
    pub api: Option<Listen>,
    /// Address for health, metrics and inspection [default: 127.0.0.1:9254]
    #[arg(long, env = "GATELET_ADMIN", value_name = "ADDR:PORT|off")]
    pub admin: Option<Listen>,
    /// Serve the objects of the cluster that this kubeconfig is for
    #[arg(long, env = "GATELET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where objects come from [default: auto]
    #[arg(long, env = "GATELET_MODE")]
    pub mode: Option<Mode>,
    /// Data-plane cores [default: all]
    #[arg(long, env = "GATELET_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Name of this node [default: the host name]
    #[arg(long, env = "GATELET_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Addresses that this node is reached at [default: found out]
    #[arg(
        long,
        env = "GATELET_ADDRESS",
        value_name = "IP,...",
        value_delimiter = ','
    )]
    pub address: Vec<IpAddr>,
    /// Namespace in a cluster for what replicas share [default: the pod's, or kube-system]
    #[arg(long, env = "GATELET_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Addresses written into the status of Ingresses [default: those of all nodes]
    #[arg(
        long,
        env = "GATELET_PUBLISH",
        value_name = "IP,...",
        value_delimiter = ','
    )]
    pub publish: Vec<IpAddr>,
    /// Names of IngressClasses to serve beside our own [default: none]
    #[arg(
        long,
        env = "GATELET_CLASSES",
        value_name = "NAME,...",
        value_delimiter = ','
    )]
    pub classes: Vec<String>,
    /// Refuse paths whose login or other guard is not supported, or serve them without it [default:
    /// refuse]
    #[arg(
        id = "unsupported_guards",
        long = "unsupported-guards",
        env = "GATELET_UNSUPPORTED_GUARDS"
    )]
    pub unsupported_guards: Option<UnsupportedGuards>,
}

/// How the state is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// File with the key that private keys are sealed with.
    pub seal_key_file: Option<PathBuf>,
    /// Files with keys that they may still be sealed with.
    pub old_seal_key_files: Vec<PathBuf>,
}

/// Everything that is set. Fixed for the life of the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// State directory.
    pub state: PathBuf,
    /// How it is kept.
    pub store: Store,
    /// HTTP address; `None` for port 80, or 8080 where 80 is not allowed.
    pub http: Option<Listen>,
    /// HTTPS address; `None` for port 443, or 8443 where 443 is not allowed.
    pub https: Option<Listen>,
    /// Address of the mini cluster's API.
    pub api: Listen,
    /// Address for health, metrics and inspection.
    pub admin: Listen,
    /// Kubeconfig of the cluster to serve.
    pub kubeconfig: Option<PathBuf>,
    /// Where objects come from.
    pub mode: Mode,
    /// Data-plane cores; 0 for all.
    pub workers: usize,
    /// Name of this node.
    pub node: String,
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller: String,
    /// Names of further classes to serve, with or without an IngressClass.
    pub classes: Vec<String>,
    /// Serve Ingresses without any class even where no class is the default.
    pub classless: bool,
    /// `namespace/service:port` for requests that no rule takes.
    pub default_backend: Option<String>,
    /// Redirect to HTTPS for hosts under `spec.tls`.
    pub ssl_redirect: bool,
    /// `Strict-Transport-Security` for hosts under `spec.tls`.
    pub hsts: Option<String>,
    /// Treatment of paths with an unsupported guard.
    pub unsupported_guards: UnsupportedGuards,
    /// Metrics of certificates under cert-manager's names too.
    pub cert_manager_metrics: bool,
    /// Addresses that this node is reached at; empty if they are to be found out.
    pub address: Vec<IpAddr>,
    /// Namespace in a cluster for what replicas share; `None` for the pod's, or `kube-system`.
    pub namespace: Option<String>,
    /// Addresses written into the status of Ingresses; empty for those of all nodes.
    pub publish: Vec<IpAddr>,
    /// The issuer of certificates that name none; without it the local CA answers for them, and
    /// nothing is ordered.
    pub default_issuer: Option<String>,
    /// How long requests in flight may take after SIGTERM.
    pub grace: Duration,
    /// TLS to clients.
    pub tls: Tls,
    /// Logs.
    pub log: Log,
    /// The data plane.
    pub proxy: Proxy,
    /// Issuers of certificates, in the order of the file. Their names differ.
    pub issuers: Vec<Issuer>,
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Oldest version.
    pub min_version: TlsVersion,
    /// Unknown server names.
    pub unknown_sni: UnknownSni,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// Form of the lines.
    pub format: LogFormat,
    /// Share of requests in the access log, 0 to 1; `None` for no access log.
    pub access: Option<f64>,
}

/// `[proxy]`
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The port of HTTPS behind a port mapping; `None` for 443.
    pub external_https_port: Option<u16>,
    /// Peers that must send a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Request head, from its first byte.
    pub client_header_timeout: Duration,
    /// Keep-alive connection without a request.
    pub client_idle_timeout: Duration,
    /// TLS handshake.
    pub handshake_timeout: Duration,
    /// Connection to a backend.
    pub connect_timeout: Duration,
    /// Head of the backend's answer.
    pub response_header_timeout: Duration,
    /// Between two movements of a body or an upgraded connection.
    pub stream_idle_timeout: Duration,
    /// Idle connection to a backend.
    pub upstream_idle_timeout: Duration,
    /// The whole request; `None` for no limit.
    pub request_timeout: Option<Duration>,
    /// Bytes of a request head.
    pub max_header_bytes: u64,
    /// Fields of a request head.
    pub max_headers: usize,
    /// Bytes of a request body; `None` for no limit.
    pub max_body_bytes: Option<u64>,
    /// Client connections in all.
    pub max_connections: usize,
    /// Client connections per client address; 0 for no limit.
    pub max_connections_per_client: usize,
    /// Streams of one HTTP/2 connection.
    pub max_streams: u32,
    /// Idle connections kept per endpoint and core.
    pub max_idle_per_endpoint: usize,
    /// Attempts for one request.
    pub max_attempts: u32,
    /// Refused connections in a row after which an endpoint is passed over.
    pub eject_after: u32,
    /// For how long, the first time.
    pub eject_for: Duration,
    /// Choice of the endpoint.
    pub balance: Balance,
    /// Verify the certificates of TLS backends.
    pub verify_backends: bool,
    /// ExternalName Services may name loopback and link-local addresses.
    pub local_names: bool,
}

/// Why there is no configuration. Names the file, the line and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{}, line {line}: {message}\n  {text}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong, with the allowed values.
        message: String,
        /// The line itself.
        text: String,
    },
    /// A value that has the right form makes no sense.
    #[error("{field}: {message}")]
    Value {
        /// The key, with its section.
        field: String,
        /// What is wrong, with the allowed values.
        message: String,
    },
}

impl ConfigError {
    /// The same error with the line of the file that sets the value.
    fn in_file(self, path: &Path, text: &str) -> Self {
        let Self::Value { field, message } = self else {
            return self;
        };
        let Some(line) = effective::place(text, &field) else {
            return Self::Value { field, message };
        };
        let shown = issuers::shown(text.lines().nth(line - 1).unwrap_or_default());
        Self::Parse {
            path: path.to_owned(),
            line,
            message: format!("{field}: {message}"),
            text: shown,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|addr| Self(Some(addr))).map_err(|_bad| {
            format!("{text:?} is neither an address with a port (0.0.0.0:80, [::]:80, 127.0.0.1:0) nor off")
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(addr)) => addr.fmt(f),
            Self(None) => f.write_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Default for Config {
    fn default() -> Self {
        let root = is_root();
        Self {
            state: if root {
                PathBuf::from("/var/lib/gatelet")
            } else {
                home("XDG_STATE_HOME", ".local/state")
            },
            store: Store::default(),
            http: None,
            https: None,
            api: Listen(Some(SocketAddr::from(([127, 0, 0, 1], 7443)))),
            admin: Listen(Some(SocketAddr::from(([127, 0, 0, 1], 9254)))),
            kubeconfig: None,
            mode: Mode::Auto,
            workers: 0,
            node: host_name(),
            controller: "gatelet.dev/ingress-controller".to_owned(),
            classes: Vec::new(),
            classless: false,
            default_backend: None,
            ssl_redirect: true,
            hsts: None,
            unsupported_guards: UnsupportedGuards::Refuse,
            cert_manager_metrics: false,
            address: Vec::new(),
            namespace: None,
            publish: Vec::new(),
            default_issuer: None,
            grace: Duration::from_secs(30),
            tls: Tls::default(),
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
                access: None,
            },
            proxy: Proxy {
                trusted_proxies: Vec::new(),
                external_https_port: None,
                proxy_protocol_from: Vec::new(),
                client_header_timeout: Duration::from_secs(30),
                client_idle_timeout: Duration::from_secs(75),
                handshake_timeout: Duration::from_secs(10),
                connect_timeout: Duration::from_secs(5),
                response_header_timeout: Duration::from_secs(60),
                stream_idle_timeout: Duration::from_secs(300),
                upstream_idle_timeout: Duration::from_secs(60),
                request_timeout: None,
                max_header_bytes: 32 * 1024,
                max_headers: 100,
                max_body_bytes: None,
                max_connections: 10_000,
                max_connections_per_client: 0,
                max_streams: 128,
                max_idle_per_endpoint: 256,
                max_attempts: 3,
                eject_after: 3,
                eject_for: Duration::from_secs(5),
                balance: Balance::RoundRobin,
                verify_backends: false,
                local_names: false,
            },
            issuers: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the file that is named, or the one at the usual place if there is one, and puts the
    /// flags over it.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::read(flags).map(|(config, _file)| config)
    }

    /// The same, as a list of every key with its value and where that comes from. `typed` names the
    /// flag or variable that sets a key of [`Flags`]. Beside it the file, if there is one.
    pub fn explain(
        flags: &Flags,
        typed: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Vec<Setting>, Option<PathBuf>), ConfigError> {
        let (config, file) = Self::read(flags)?;
        let settings = match &file {
            Some((path, text)) => {
                let mut settings = config.settings(path, &effective::lines(text), typed);
                settings.extend(effective::issuers(path, text));
                settings
            }
            None => config.settings(Path::new(""), &BTreeMap::new(), typed),
        };
        Ok((settings, file.map(|(path, _text)| path)))
    }

    /// The configuration, and the file that it was read from with its text.
    fn read(flags: &Flags) -> Result<(Self, Option<(PathBuf, String)>), ConfigError> {
        let mut config = Self::default();
        let path = flags.config.clone().unwrap_or_else(default_file);
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let file = File::parse(&path, &text)?;
                file.put_over(&mut config)
                    .map_err(|error| error.in_file(&path, &text))?;
                Some((path, text))
            }
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && flags.config.is_none() =>
            {
                None
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        config.flags(flags);
        config.check().map_err(|error| match &file {
            Some((path, text)) => error.in_file(path, text),
            None => error,
        })?;
        Ok((config, file))
    }

    fn flags(&mut self, flags: &Flags) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        set(&mut self.state, &flags.state);
        self.store.seal_key_file = flags
            .seal_key_file
            .clone()
            .or_else(|| self.store.seal_key_file.take());
        set(&mut self.api, &flags.api);
        set(&mut self.admin, &flags.admin);
        set(&mut self.mode, &flags.mode);
        set(&mut self.workers, &flags.workers);
        set(&mut self.node, &flags.node);
        set(&mut self.unsupported_guards, &flags.unsupported_guards);
        if !flags.classes.is_empty() {
            self.classes.clone_from(&flags.classes);
        }
        for (to, from) in [
            (&mut self.address, &flags.address),
            (&mut self.publish, &flags.publish),
        ] {
            if !from.is_empty() {
                to.clone_from(from);
            }
        }
        self.http = flags.http.or(self.http);
        self.https = flags.https.or(self.https);
        self.kubeconfig = flags.kubeconfig.clone().or_else(|| self.kubeconfig.take());
        self.namespace = flags.namespace.clone().or_else(|| self.namespace.take());
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field: &str, message: String| {
            Err(ConfigError::Value {
                field: field.to_owned(),
                message,
            })
        };
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        if !LEVELS.contains(&self.log.level.as_str()) {
            return wrong(
                "log.level",
                format!("{:?} is not one of {}", self.log.level, LEVELS.join(", ")),
            );
        }
        if self
            .log
            .access
            .is_some_and(|share| !(0.0..=1.0).contains(&share))
        {
            return wrong(
                "log.access",
                "it is a share of requests, from 0.0 to 1.0".to_owned(),
            );
        }
        if let Some(backend) = &self.default_backend
            && !matches!(backend.split_once('/'), Some((namespace, rest)) if !namespace.is_empty() && rest.contains(':'))
        {
            return wrong(
                "default_backend",
                format!("{backend:?} is not of the form namespace/service:port"),
            );
        }
        // The annotation of old Ingresses may hold more than names of objects do, but never blanks.
        if let Some(class) = self
            .classes
            .iter()
            .find(|class| class.is_empty() || class.contains(char::is_whitespace))
        {
            return wrong("classes", format!("{class:?} is not the name of a class"));
        }
        if let Some(issuer) = self
            .default_issuer
            .as_ref()
            .filter(|name| !is_issuer_name(name))
        {
            return wrong("default_issuer", issuers::not_a_name(issuer));
        }
        if self.proxy.max_attempts == 0 {
            return wrong(
                "proxy.max_attempts",
                "it counts the first attempt too, so it is at least 1".to_owned(),
            );
        }
        if self.proxy.max_header_bytes < 8192 {
            return wrong("proxy.max_header_bytes", "it is at least 8KiB".to_owned());
        }
        Ok(())
    }
}

fn default_file() -> PathBuf {
    let system = PathBuf::from("/etc/gatelet/gatelet.toml");
    if is_root() || system.exists() {
        system
    } else {
        home("XDG_CONFIG_HOME", ".config").join("gatelet.toml")
    }
}

fn home(variable: &str, below: &str) -> PathBuf {
    let base = std::env::var_os(variable)
        .filter(|dir| Path::new(dir).is_absolute())
        .map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(below)));
    base.unwrap_or_else(std::env::temp_dir).join("gatelet")
}

fn is_root() -> bool {
    // The owner of our own /proc entry is our effective user.
    std::os::unix::fs::MetadataExt::uid(&match std::fs::metadata("/proc/self") {
        Ok(own) => own,
        Err(_no_proc) => return false,
    }) == 0
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests;
