use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::config::Flags;

/// Temporary files, removed on drop.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(
            std::env::temp_dir().join(format!("gatelet-check-{}-{number}", std::process::id())),
        );
        for (name, text) in files {
            let path = folder.0.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn check(&self) -> CheckReport {
        check(std::slice::from_ref(&self.0), None, &[]).expect("a report")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns severity, object, reason, field and message of each finding, without folders.
fn findings(report: &CheckReport) -> Vec<[String; 5]> {
    let short = |text: &str| match text.split_once(", document") {
        Some((path, rest)) => format!("{}, document{rest}", base(path)),
        None => base(text),
    };
    let findings = report.findings.iter();
    findings
        .map(|one| {
            [
                one.severity.name().to_owned(),
                short(&one.object),
                one.reason.as_str().to_owned(),
                one.field.clone(),
                one.message.clone(),
            ]
        })
        .collect()
}

/// Returns the name of a file, and other text unchanged.
fn base(text: &str) -> String {
    if text.starts_with('/') {
        Path::new(text)
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into()
    } else {
        text.into()
    }
}

fn reasons(report: &CheckReport) -> Vec<(String, String, String)> {
    findings(report)
        .into_iter()
        .map(|[severity, object, reason, ..]| (severity, object, reason))
        .collect()
}

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

fn ingress(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\nspec:\n{spec}\
         \x20 rules: [{{host: a.example, http: {{paths: [{{path: /, pathType: Prefix, backend: \
         {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]\n"
    )
}

#[test]
fn an_old_version_is_a_warning_with_the_changes() {
    let files = Files::new(&[
        (
            "old.yaml",
            "apiVersion: extensions/v1beta1\nkind: Ingress\n\
             metadata: {name: old, namespace: shop}\nspec: {}\n",
        ),
        (
            "class.yaml",
            "apiVersion: networking.k8s.io/v1beta1\nkind: IngressClass\nmetadata: {name: old}\n",
        ),
    ]);
    let report = files.check();
    assert!(report.has_warnings());
    let found = findings(&report);
    let [ingress, class] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        ingress[..4],
        ["Warning", "Ingress shop/old", "OldVersion", "apiVersion"].map(String::from)
    );
    assert!(
        ingress[4].contains("write networking.k8s.io/v1, `backend.service.name`"),
        "{}",
        ingress[4]
    );
    assert_eq!(class[1], "IngressClass old");
    assert_eq!((report.objects, report.others), (0, 0));
}

#[test]
fn kinds_that_are_not_served_are_counted_and_named() {
    let other = |version: &str, kind: &str, name: &str| {
        format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    };
    let text = [
        other("traefik.io/v1alpha1", "TraefikService", "auth"),
        other("traefik.io/v1alpha1", "IngressRoute", "b"),
        other("traefik.io/v1alpha1", "IngressRoute", "a"),
        other("cert-manager.io/v1", "Certificate", "tls"),
        other("apps/v1", "Deployment", "web"),
        other("apps/v1", "Deployment", "db"),
        other("batch/v1", "CronJob", "backup"),
    ];
    let files = Files::new(&[("all.yaml", &text.concat())]);
    let report = files.check();
    assert!(report.findings.is_empty() && !report.has_warnings());
    assert_eq!(report.others, 7);
    let counts = |list: &[KindReport]| -> Vec<String> {
        list.iter()
            .map(|one| {
                format!(
                    "{} {} {} {}",
                    one.count,
                    one.kind,
                    one.part_of,
                    one.names.join(" ")
                )
            })
            .collect()
    };
    assert_eq!(
        counts(&report.not_served),
        [
            "2 IngressRoute Traefik default/a default/b",
            "1 TraefikService Traefik default/auth",
            "1 Certificate cert-manager default/tls"
        ]
    );
    assert_eq!(
        counts(&report.other_kinds),
        [
            "2 Deployment  default/db default/web",
            "1 CronJob  default/backup"
        ]
    );
}

#[test]
fn files_without_objects_are_not_an_error() {
    let files = Files::new(&[
        ("empty.yaml", ""),
        ("comments.yaml", "# nothing\n---\n# here\n"),
        ("values.yaml", "ingress:\n  enabled: true\n"),
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("kustomization.yaml", "resources: [web.yaml]\n"),
        ("web.yaml", SERVICE),
        (".git/broken.yaml", "a: ["),
    ]);
    let report = files.check();
    assert_eq!((findings(&report), report.objects), (vec![], 1));
    let names: Vec<_> = report
        .without_objects
        .iter()
        .map(|path| base(path))
        .collect();
    assert_eq!(
        names,
        [
            "Chart.yaml",
            "comments.yaml",
            "empty.yaml",
            "kustomization.yaml",
            "values.yaml"
        ]
    );
}

#[test]
fn a_bad_document_does_not_affect_the_others_of_its_file() {
    let text = format!(
        "{SERVICE}---\na: [\n---\nmetadata: {{name: x}}\nspec: {{}}\n---\n{}",
        ingress("")
    );
    let report = Files::new(&[("all.yaml", &text)]).check();
    let found = findings(&report);
    let [broken, headless] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        broken[..4],
        ["Warning", "all.yaml, document 2", "Unreadable", ""].map(String::from)
    );
    assert_eq!(
        headless[..3],
        ["Warning", "all.yaml, document 3", "Unreadable"].map(String::from)
    );
    assert_eq!(headless[4], "it has no kind");
    let places: Vec<_> = report.findings.iter().map(|one| base(&one.place)).collect();
    assert_eq!(places, ["all.yaml:6", "all.yaml:8"]);
    assert_eq!(report.objects, 2);
}

#[test]
fn an_undecodable_object_names_its_field() {
    let text = SERVICE.replace("port: 80", "port: 80}, {port: many");
    let report = Files::new(&[("web.yaml", &format!("# a comment\n{text}"))]).check();
    let found = findings(&report);
    assert_eq!(
        found[0][..4],
        [
            "Warning",
            "Service default/web",
            "Undecodable",
            "spec.ports[1].port"
        ]
        .map(String::from)
    );
    assert_eq!(base(&report.findings[0].place), "web.yaml:2");
}

#[test]
fn strange_documents_are_findings() {
    for text in [
        "apiVersion: v1\nkind: Service\nmetadata: web\n",
        "apiVersion: v1\nkind: Service\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: [1], namespace: {}}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a, labels: [x]}\n",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {}\nspec: 5\n",
        "a: *nobody\n",
    ] {
        let report = Files::new(&[("f.yaml", text)]).check();
        assert!(report.has_warnings(), "{text}");
    }
}

#[test]
fn a_missing_object_that_the_cluster_may_have_is_a_note() {
    let tls = "  tls: [{hosts: [a.example], secretName: tls}]\n";
    let own = "---\napiVersion: v1\nkind: Service\nmetadata: {name: other}\n\
               spec: {ports: [{port: 80}]}\n";
    let elsewhere = own.replace("{name: other}", "{name: other, namespace: shop}");
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: other}\n";
    for (more, expected) in [
        (String::new(), ["Normal", "Normal"]),
        (own.to_owned(), ["Warning", "Normal"]),
        (elsewhere, ["Normal", "Normal"]),
        (secret.to_owned(), ["Normal", "Warning"]),
    ] {
        let report = Files::new(&[("web.yaml", &format!("{}{more}", ingress(tls)))]).check();
        let severities: Vec<_> = findings(&report)
            .into_iter()
            .map(|[severity, ..]| severity)
            .collect();
        assert_eq!(severities, expected, "{more}");
        let messages: Vec<_> = findings(&report)
            .into_iter()
            .map(|[.., message]| message)
            .collect();
        let (service, secret) = (&messages[0], &messages[1]);
        if expected == ["Normal", "Normal"] {
            assert_eq!(
                service,
                "Service web is not in these files. Unless the cluster has it: 503 for this path"
            );
            assert!(secret.starts_with(
                "Secret tls is not in these files. Unless the cluster has it: the local CA serves"
            ));
        }
    }
}

#[test]
fn a_template_is_a_warning_only_if_it_was_named() {
    let chart = "{{- if .Values.ingress.enabled }}\nkind: Ingress\n---\n\
                 spec: {{ .Values.spec }}\n{{- end }}\n";
    let quoted = ingress("").replace("host: a.example", "host: \"{{ .Values.host }}\"");
    let files = Files::new(&[
        ("templates/chart.yaml", chart),
        ("templates/quoted.yaml", &quoted),
    ]);
    let report = files.check();
    let note = |file: &str| ("Normal".to_owned(), file.to_owned(), "Template".to_owned());
    assert_eq!(reasons(&report), [note("chart.yaml"), note("quoted.yaml")]);
    assert!(report.findings[0].message.contains("helm template"));
    for file in ["templates/chart.yaml", "templates/quoted.yaml"] {
        let report = check(&[files.path(file)], None, &[]).expect("a report");
        assert!(
            report.has_warnings() && report.findings.len() == 1,
            "{file}"
        );
    }
}

#[test]
fn the_configuration_applies_as_it_does_when_serving() {
    let classless = ingress("").replace("name: web", "name: none") + "---\n" + SERVICE;
    let named = |class: &str| ingress(&format!("  ingressClassName: {class}\n"));
    let selecting = SERVICE.replace("spec: {", "spec: {selector: {app: web}, ");
    // An Ingress that is served has a finding about its missing Service, another has none.
    let served = |config: &str, text: &str| {
        let files = Files::new(&[
            ("gatelet.toml", config),
            (
                "o/all.yaml",
                &text.replace("name: web, port", "name: gone, port"),
            ),
        ]);
        let flags = Flags {
            config: Some(files.path("gatelet.toml")),
            ..Flags::default()
        };
        let config = Config::load(&flags).expect("a configuration");
        let report = check(&[files.path("o")], Some(&config), &[]).expect("a report");
        reasons(&report)
            .iter()
            .any(|(_, _, reason)| reason == "UnknownService")
    };
    for (config, text, expected) in [
        ("", &classless, true),
        ("mode = \"standalone\"", &classless, true),
        ("mode = \"kubernetes\"", &classless, false),
        ("mode = \"kubernetes\"\nclassless = true", &classless, true),
        ("", &named("gatelet"), true),
        ("", &named("edge"), false),
        (
            "controller = \"example.com/edge\"",
            &(named("edge")
                + "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\n\
                   metadata: {name: edge}\n\
                   spec: {controller: example.com/edge}\n"),
            true,
        ),
    ] {
        assert_eq!(served(config, text), expected, "{config}\n{text}");
    }

    let reasons_with = |config: &str, text: &str| {
        let files = Files::new(&[("gatelet.toml", config), ("o/all.yaml", text)]);
        let flags = Flags {
            config: Some(files.path("gatelet.toml")),
            ..Flags::default()
        };
        let config = Config::load(&flags).expect("a configuration");
        reasons(&check(&[files.path("o")], Some(&config), &[]).expect("a report"))
    };
    let expected = (
        "Warning".to_owned(),
        "Service default/web".to_owned(),
        "SelectorWithoutPods".to_owned(),
    );
    let with_ingress = format!("{selecting}---\n{}", ingress(""));
    assert_eq!(
        reasons_with("mode = \"standalone\"", &with_ingress),
        std::slice::from_ref(&expected)
    );
    assert_eq!(reasons_with("mode = \"kubernetes\"", &with_ingress), []);
    // The default backend is a user of its Service, too.
    assert_eq!(
        reasons_with(
            "mode = \"standalone\"\ndefault_backend = \"default/web:80\"",
            &selecting
        ),
        [expected]
    );
    assert_eq!(reasons_with("mode = \"standalone\"", &selecting), []);
}

#[test]
fn a_class_on_the_command_line_is_ours() {
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\n\
                 metadata: {name: nginx}\nspec: {controller: k8s.io/ingress-nginx}\n";
    let modern = ingress("  ingressClassName: nginx\n") + class + "---\n" + SERVICE;
    let old = ingress("").replace(
        "{name: web}",
        "{name: web, annotations: {kubernetes.io/ingress.class: nginx}}",
    );
    for text in [
        modern.replace("number: 80", "number: 81"),
        (old + "---\n" + SERVICE).replace("number: 80", "number: 81"),
    ] {
        let files = Files::new(&[("web.yaml", &text)]);
        let reasons = |classes: &[&str]| {
            let classes: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
            reasons(&check(std::slice::from_ref(&files.0), None, &classes).expect("a report"))
        };
        assert_eq!(reasons(&[]), []);
        assert_eq!(reasons(&["other"]), []);
        let [(severity, _, reason)] = &reasons(&["other", "nginx"])[..] else {
            panic!("{text}")
        };
        assert_eq!((&**severity, &**reason), ("Warning", "UnknownPort"));
    }
}

#[test]
fn classes_that_are_not_served_are_listed_with_guards() {
    let guard = "nginx.ingress.kubernetes.io/modsecurity-snippet";
    let of = |name: &str, annotation: &str| {
        ingress("  ingressClassName: nginx\n").replace(
            "{name: web}",
            &format!("{{name: {name}, annotations: {{{annotation}}}}}"),
        )
    };
    let text = [
        of("a", &format!("{guard}: http://auth.example")),
        of("b", "example.com/note: some"),
        SERVICE.to_owned(),
    ]
    .join("---\n");
    let files = Files::new(&[("all.yaml", &text)]);
    let report = files.check();
    let [class] = &report.other_classes[..] else {
        panic!("{:?}", report.other_classes)
    };
    assert_eq!(
        (&*class.class, class.ingresses, class.guarded),
        ("nginx", 2, 1)
    );
    assert_eq!(class.guards[0].annotation, guard);
    assert!(!report.has_warnings());

    let taken =
        check(std::slice::from_ref(&files.0), None, &["nginx".to_owned()]).expect("a report");
    assert!(taken.other_classes.is_empty() && taken.has_warnings());
    let count = |reason| {
        let reason = CheckReason::Compiler(reason);
        let findings = taken.findings.iter();
        findings.filter(|one| one.reason == reason).count()
    };
    let (guards, taken_paths) = (count(Reason::UnsupportedGuard), count(Reason::PathTaken));
    assert_eq!((guards, taken_paths), (1, 1));
}

#[test]
fn a_slice_with_another_port_name_is_a_warning() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                 metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
                 endpoints: [{addresses: [192.0.2.1]}]\nports: [{name: http, port: 8080}]\n---\n";
    let report = Files::new(&[("web.yaml", &format!("{SERVICE}{slice}{}", ingress("")))]).check();
    let expected = (
        "Warning".to_owned(),
        "Service default/web".to_owned(),
        "EndpointPortMismatch".to_owned(),
    );
    assert_eq!(reasons(&report), [expected]);
    assert_eq!(base(&report.findings[0].place), "web.yaml:1");
}

#[test]
fn a_folder_that_links_to_itself_is_read_once() {
    let files = Files::new(&[("web.yaml", SERVICE)]);
    std::os::unix::fs::symlink(&files.0, files.path("again")).expect("a link");
    assert_eq!(files.check().objects, 1);
}

#[test]
fn the_page_lists_the_reasons_of_the_check_in_order() {
    let page = include_str!("../../../../docs/findings.md");
    let (_of_compiler, table) = page.split_once("[check.md]").expect("both tables");
    let (table, _rest) = table.split_once("\n## ").expect("a section");
    let listed: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(listed, CheckReason::OWN.map(CheckReason::as_str));
}

#[test]
fn middlewares_of_files_are_those_that_an_ingress_names() {
    let text = "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: strip, namespace: apps}
spec: {stripPrefix: {prefixes: [/a]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    traefik.ingress.kubernetes.io/router.middlewares: apps-NAME@kubernetescrd
spec: {rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service:
  {name: web, port: {number: 80}}}}]}}]}
";
    let check = |name: &str| Files::new(&[("all.yaml", &text.replace("NAME", name))]).check();
    let reasons = |report: &CheckReport| -> Vec<String> {
        let warnings = report.findings.iter();
        let warnings = warnings.filter(|one| one.severity == Severity::Warning);
        warnings.map(|one| one.reason.as_str().to_owned()).collect()
    };
    let report = check("strip");
    assert_eq!((report.objects, report.others), (3, 0));
    assert_eq!(reasons(&report), [""; 0]);
    assert_eq!(reasons(&check("gone")), ["UnknownMiddleware"]);

    // A cluster can have it, if no file has any.
    let (_, alone) = text.split_once("---\n").expect("three documents");
    let report = Files::new(&[("all.yaml", alone)]).check();
    assert_eq!(reasons(&report), [""; 0]);
    let note = report.findings.iter();
    let note: Vec<&str> = note.map(|one| one.reason.as_str()).collect();
    assert_eq!(note, ["UnknownMiddleware"]);
}

#[test]
fn each_annotation_has_an_outcome() {
    let ingress = |name: &str, class: &str| {
        format!(
            r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations:
    kubernetes.io/description: of nobody
    nginx.ingress.kubernetes.io/app-root: /start
    nginx.ingress.kubernetes.io/auth-secret: nothing
    nginx.ingress.kubernetes.io/auth-type: basic
    nginx.ingress.kubernetes.io/backend-protocol: FTP
    nginx.ingress.kubernetes.io/configuration-snippet: 'more_set_headers "X-A: b";'
    nginx.ingress.kubernetes.io/http2-push-preload: "true"
    nginx.ingress.kubernetes.io/limit-rate: "5"
    nginx.ingress.kubernetes.io/modsecurity-snippet: SecRuleEngine On
spec:
  ingressClassName: {class}
  rules: [{{ host: {name}.example.com }}]
---
apiVersion: v1
kind: Secret
metadata: {{ name: other }}
---"#
        )
    };
    let text = ingress("mine", "gatelet") + &ingress("others", "nginx");
    let report = Files::new(&[("all.yaml", &text)]).check();

    let [only] = &*report.annotations else {
        panic!("{report:?}");
    };
    assert_eq!(only.object, "Ingress default/mine");
    let outcomes: Vec<(&str, Outcome)> = only
        .annotations
        .iter()
        .map(|one| {
            let name = one.name.strip_prefix("nginx.ingress.kubernetes.io/");
            (name.expect("a prefix"), one.outcome)
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("app-root", Outcome::Honoured),
            ("auth-secret", Outcome::Closed),
            ("auth-type", Outcome::Different),
            ("backend-protocol", Outcome::WithoutEffect),
            ("configuration-snippet", Outcome::Different),
            ("http2-push-preload", Outcome::WithoutEffect),
            ("limit-rate", Outcome::Different),
            ("modsecurity-snippet", Outcome::Closed),
        ]
    );
}

#[test]
fn annotations_without_effect_on_services_are_counted() {
    let service = |name: &str| {
        format!(
            r#"apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations:
    haproxy.org/server-ssl: "true"
    metallb.io/address-pool: first
    nginx.ingress.kubernetes.io/rewrite-target: /x
spec: {{ ports: [{{ port: 80 }}] }}
---
"#
        )
    };
    let ingress = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: used}
spec:
  defaultBackend: {service: {name: used, port: {number: 80}}}
---
";
    let text = service("used") + &service("unused") + ingress;
    let report = Files::new(&[("all.yaml", &text)]).check();

    let [only] = &*report.annotations else {
        panic!("{report:?}");
    };
    assert_eq!(only.object, "Service default/used");
    let outcomes: Vec<(&str, Outcome)> = only
        .annotations
        .iter()
        .map(|one| (&*one.name, one.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("haproxy.org/server-ssl", Outcome::Honoured),
            (
                "nginx.ingress.kubernetes.io/rewrite-target",
                Outcome::WithoutEffect
            ),
        ]
    );
}
