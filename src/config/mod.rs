//! File, environment and flags into one typed [`Config`]. Flags win over the environment, which
//! wins over the file, which wins over the defaults.
//!
//! A section of the file is the settings type of the module that uses it, with its defaults; the
//! keys without a section are fields of [`Config`].

mod dns_table;
mod effective;
mod error;
mod file;
mod flags;
mod issuer_keys;
mod issuer_table;
mod issuers;
mod keys;
mod listen;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use effective::{Origin, Setting};
pub use error::ConfigError;
pub use flags::Flags;
pub use issuers::{
    Acme, Directory, Dns, DnsProvider, Eab, Issuer, IssuerKind, IssuerProblem, Propagation, Secret,
    TokenApi, TsigAlgorithm, TsigKey, is_issuer_name,
};
pub use listen::{Listen, ListenError};

use crate::{
    controller::UnsupportedGuards,
    proxy, store, telemetry, tls,
    util::{
        port_range::PortRange,
        setting::InvalidSetting,
        units::{size, span},
    },
};

/// The least that [`Config::memory`] may be: about what an idle process takes.
const MIN_MEMORY: u64 = 16 << 20;

/// The source of the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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

/// All settings. Fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// State directory.
    pub state: PathBuf,
    /// HTTP address; `None` for port 80, or 8080 where 80 is not allowed.
    pub http: Option<Listen>,
    /// HTTPS address; `None` for port 443, or 8443 where 443 is not allowed.
    pub https: Option<Listen>,
    /// Address of the mini cluster's API.
    pub api: Listen,
    /// Address for health, metrics and inspection.
    pub admin: Listen,
    /// The source of the objects.
    pub mode: Mode,
    /// Kubeconfig of the cluster to serve.
    pub kubeconfig: Option<PathBuf>,
    /// Data-plane cores; 0 for all.
    pub workers: usize,
    /// Bytes of memory that the process may take; `None` to follow its control group and device.
    #[serde(with = "size")]
    pub memory: Option<u64>,
    /// Name of this node.
    pub node: String,
    /// Addresses that this node is reached at; empty to detect them.
    pub address: Vec<IpAddr>,
    /// Namespace in a cluster for what replicas share; `None` for the pod's, or `kube-system`.
    pub namespace: Option<String>,
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller: String,
    /// Names of further classes to serve, with or without an IngressClass.
    pub classes: Vec<String>,
    /// Serve Ingresses without any class even where no class is the default.
    pub classless: bool,
    /// `namespace/service:port` for requests that no rule matches.
    pub default_backend: Option<String>,
    /// `namespace/name` of the ConfigMap that maps TCP ports to Services.
    pub tcp_services: Option<String>,
    /// The same for UDP ports.
    pub udp_services: Option<String>,
    /// `namespace/name` of the ConfigMap with the settings of ingress-nginx.
    pub nginx_configmap: Option<String>,
    /// The ports that objects may open; empty for none.
    pub open_ports: Vec<PortRange>,
    /// Redirect to HTTPS for hosts under `spec.tls`.
    pub ssl_redirect: bool,
    /// `Strict-Transport-Security` for hosts under `spec.tls`.
    pub hsts: Option<String>,
    /// The treatment of paths with an unsupported guard.
    pub unsupported_guards: UnsupportedGuards,
    /// Export metrics of certificates under cert-manager's names too.
    pub cert_manager_metrics: bool,
    /// Addresses written into the status of Ingresses; empty for those of all nodes.
    pub publish: Vec<IpAddr>,
    /// The issuer of certificates that name none; `None` orders nothing, and the local CA issues.
    pub default_issuer: Option<String>,
    /// Time that requests in flight have after SIGTERM.
    #[serde(with = "span")]
    pub grace: Duration,
    /// The store.
    pub store: store::Settings,
    /// TLS to clients.
    pub tls: tls::Settings,
    /// Logs.
    pub log: telemetry::Settings,
    /// The data plane.
    pub proxy: proxy::Settings,
    /// Issuers of certificates, in the order of the file. Their names differ.
    #[serde(skip_serializing)]
    pub issuers: Vec<Issuer>,
}

impl Default for Config {
    fn default() -> Self {
        let state = if is_root() {
            PathBuf::from("/var/lib/gatelet")
        } else {
            home("XDG_STATE_HOME", ".local/state")
        };

        Self {
            state,
            http: None,
            https: None,
            api: Listen(Some(SocketAddr::from(([127, 0, 0, 1], 7443)))),
            admin: Listen(Some(SocketAddr::from(([127, 0, 0, 1], 9254)))),
            mode: Mode::Auto,
            kubeconfig: None,
            workers: 0,
            memory: None,
            node: host_name(),
            address: Vec::new(),
            namespace: None,
            controller: "gatelet.dev/ingress-controller".to_owned(),
            classes: Vec::new(),
            classless: false,
            default_backend: None,
            tcp_services: None,
            udp_services: None,
            nginx_configmap: None,
            open_ports: vec![PortRange::ALL],
            ssl_redirect: true,
            hsts: None,
            unsupported_guards: UnsupportedGuards::Refuse,
            cert_manager_metrics: false,
            publish: Vec::new(),
            default_issuer: None,
            grace: Duration::from_secs(30),
            store: store::Settings::default(),
            tls: tls::Settings::default(),
            log: telemetry::Settings::default(),
            proxy: proxy::Settings::default(),
            issuers: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the file that is named, or the one at the usual place if there is one, and puts the
    /// flags over it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line if the file sets it.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::read(flags).map(|(config, _file)| config)
    }

    /// Loads the configuration as a list of every key with its value and origin. `typed` names the
    /// flag or variable that sets a key of [`Flags`]. Returns the path of the file too, if there is
    /// one.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn explain(
        flags: &Flags,
        typed: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Vec<Setting>, Option<PathBuf>), ConfigError> {
        let (config, file) = Self::read(flags)?;
        let read = file
            .as_ref()
            .map(|(path, text)| (path.as_path(), text.as_str()));
        let settings = effective::settings(&config, read, typed);
        Ok((settings, file.map(|(path, _text)| path)))
    }

    /// Loads the configuration. Returns the path and the text of the file too, if there is one.
    fn read(flags: &Flags) -> Result<(Self, Option<(PathBuf, String)>), ConfigError> {
        let path = flags.config.clone().unwrap_or_else(default_file);
        let is_usual = flags.config.is_none();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_usual => None,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };

        let mut config = match &text {
            Some(text) => file::parse(&path, text)?,
            None => Self::default(),
        };
        flags.put_over(&mut config);
        config.check().map_err(|error| match &text {
            Some(text) => file::place(error, &path, text),
            None => error,
        })?;

        Ok((config, text.map(|text| (path, text))))
    }

    /// Checks the values that their types do not limit.
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field: &str, message: String| ConfigError::Value {
            field: field.to_owned(),
            message,
        };
        let within = |section: &'static str| {
            move |InvalidSetting { key, reason }| wrong(&format!("{section}.{key}"), reason)
        };
        self.log.check().map_err(within("log"))?;
        self.proxy.check().map_err(within("proxy"))?;

        if self.memory.is_some_and(|bytes| bytes < MIN_MEMORY) {
            return Err(wrong("memory", "it is at least 16MiB".to_owned()));
        }
        if let Some(backend) = &self.default_backend {
            let is_backend = backend
                .split_once('/')
                .is_some_and(|(namespace, service)| !namespace.is_empty() && service.contains(':'));
            if !is_backend {
                let message = format!("{backend:?} is not of the form namespace/service:port");
                return Err(wrong("default_backend", message));
            }
        }

        let maps = [
            ("tcp_services", &self.tcp_services),
            ("udp_services", &self.udp_services),
            ("nginx_configmap", &self.nginx_configmap),
        ];
        for (key, map) in maps {
            let Some(map) = map else { continue };
            let is_name = map
                .split_once('/')
                .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
            if !is_name {
                let message = format!("{map:?} is not of the form namespace/name");
                return Err(wrong(key, message));
            }
        }

        // The annotation of old Ingresses may hold more than names of objects do, but no blanks.
        let is_class = |class: &String| !class.is_empty() && !class.contains(char::is_whitespace);
        if let Some(class) = self.classes.iter().find(|class| !is_class(class)) {
            let message = format!("{class:?} is not the name of a class");
            return Err(wrong("classes", message));
        }

        match &self.default_issuer {
            Some(name) if !is_issuer_name(name) => {
                Err(wrong("default_issuer", issuers::not_a_name(name)))
            }
            _ => Ok(()),
        }
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
    // The owner of this process's own /proc entry is its effective user.
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
