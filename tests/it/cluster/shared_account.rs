//! Certificates of two replicas: one orders them with an account that both have, and both respond
//! to the CA and serve them.

use std::{
    fs::File,
    process::{Child, Command, Output, Stdio},
};

use super::{
    super::support::{Folder, Gatelet, Pebble, backend, eventually, pebble::Options, said},
    replicas::Nodes,
};

const HOST: &str = "web.gatelet.test";

/// A CA beside the control plane of two nodes, and the writes of the Secret so far.
struct Site {
    pebble: Pebble,
    changes: Child,
    folder: Folder,
    nodes: Nodes,
}

impl Site {
    fn start() -> Option<Self> {
        let (nodes, folder) = (Nodes::start()?, Folder::new());
        let pebble = Pebble::start(Options {
            environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
            inside: Some(nodes.real.inside()),
            ..Options::default()
        });
        let output = File::create(folder.path().join("changes")).expect("a file");
        let watch = [
            "get",
            "secrets",
            "--field-selector=metadata.name=web-tls",
            "--watch",
            "--output-watch-events",
        ];
        let mut watch = nodes.real.kubectl_command(&watch);
        let changes = watch
            .arg("-ojsonpath={.type} ")
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl");
        Some(Self {
            pebble,
            changes,
            folder,
            nodes,
        })
    }

    /// Prepares a node with the CA as its default issuer.
    fn prepare(&self, node: &str, address: &str) -> Gatelet {
        let mut gatelet = self.nodes.prepare(node, address);
        gatelet.configure(&format!(
            "default_issuer = \"pebble\"\n[[issuers]]\nname = \"pebble\"\ndirectory = \
                \"{}\"\nroots = \"{}\"\nchallenges = [\"http-01\"]\n",
            self.pebble.directory(),
            self.pebble.root().display(),
        ));
        gatelet
    }

    /// Applies an Ingress with a certificate.
    fn ingress(&self) {
        let class = format!(
            "spec:\n  ingressClassName: gatelet\n  tls: [{{hosts: [{HOST}], secretName: \
                web-tls}}]\n"
        );
        self.nodes
            .real
            .apply(&backend::ingress("web", HOST, "").replace("spec:\n", &class));
    }

    /// Returns the serial number of the certificate that a node serves, if it serves one.
    fn shown(&self, gatelet: &Gatelet) -> Option<String> {
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{} -servername {HOST} </dev/null 2>/dev/null | \
                openssl x509 -noout -serial",
            gatelet.https
        );
        let output = self
            .nodes
            .real
            .beside(Command::new("sh").args(["-c", &script]))
            .output()
            .expect("sh");
        Some(
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .strip_prefix("serial=")?
                .to_ascii_lowercase(),
        )
    }

    /// Returns the serial numbers of the certificates that the CA issued.
    fn issued(&self) -> Vec<String> {
        let log = self.pebble.log();
        let after = log.split("Issued certificate serial ").skip(1);
        after
            .filter_map(|rest| Some(rest.split_whitespace().next()?.to_ascii_lowercase()))
            .collect()
    }

    /// Waits until both nodes serve the CA's certificate of this number, counted from one.
    fn served_by(&self, gatelets: &[&Gatelet], number: usize) {
        let serial = eventually("it is issued", || self.issued().get(number - 1).cloned());
        for gatelet in gatelets {
            eventually("it is served", || {
                (self.shown(gatelet).as_ref() == Some(&serial)).then_some(())
            });
        }
    }

    /// Counts the writes of the Secret.
    fn writes(&self) -> usize {
        let said = std::fs::read_to_string(self.folder.path().join("changes")).unwrap_or_default();
        said.split_whitespace().count()
    }

    /// Returns the number of orders that the CA received.
    fn orders(&self) -> usize {
        self.pebble.log().matches("Added order ").count()
    }

    /// Returns the number of accounts at the CA.
    fn accounts(&self) -> usize {
        self.pebble.log().matches(" accounts in memory").count()
    }

    /// Checks that one account made this many orders, each written into the Secret once.
    fn has_seen(&self, orders: usize) {
        eventually("every write is seen", || {
            (self.writes() >= orders).then_some(())
        });
        assert_eq!(
            (self.orders(), self.accounts(), self.writes()),
            (orders, 1, orders)
        );
    }

    /// Runs `gatelet certs` on a node.
    fn certs(&self, gatelet: &Gatelet, arguments: &[&str]) -> Output {
        let command = gatelet.command_line(&[&["certs"], arguments].concat());
        self.nodes
            .real
            .beside(&command)
            .output()
            .expect("gatelet runs")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.changes.kill();
        let _ = self.changes.wait();
        if std::thread::panicking() {
            eprintln!("--- log of Pebble:\n{}", self.pebble.log());
        }
    }
}

#[test]
fn replicas_share_one_account_and_one_certificate() {
    let Some(site) = Site::start() else { return };
    let mut one = site.prepare("node1", "192.0.2.1");
    site.nodes.spawn(&mut one);
    site.nodes.led_by("node1");
    // The CA validates at the replica that does not lead.
    let mut two = site.prepare("node2", "192.0.2.2");
    (two.http, two.https) = (site.pebble.http_port, site.pebble.tls_port);
    site.nodes.spawn(&mut two);
    site.nodes.announced("node2");
    site.ingress();
    site.served_by(&[&one, &two], 1);
    site.has_seen(1);

    // The other replica refuses commands that it could not carry out, and says so.
    let refused = site.certs(&two, &["renew", HOST]);
    assert!(
        !refused.status.success() && said(&refused).contains("the Lease `gatelet`"),
        "{refused:?}"
    );
    // After a change of the account's key, the other replica responds with the new key too.
    let changed = site.certs(&one, &["change-key", "pebble"]);
    assert!(changed.status.success(), "{changed:?}");
    assert!(site.certs(&one, &["renew", HOST]).status.success());
    site.served_by(&[&one, &two], 2);
    site.has_seen(2);

    one.kill();
    site.nodes.led_by("node2");
    eventually("it takes the renewal", || {
        site.certs(&two, &["renew", HOST])
            .status
            .success()
            .then_some(())
    });
    site.served_by(&[&two], 3);
    // The former leader comes back and adopts the existing account and certificate.
    site.nodes.spawn(&mut one);
    site.served_by(&[&one, &two], 3);
    site.has_seen(3);
    assert!(!one.log().contains("CertificateFailed") && !two.log().contains("CertificateFailed"));
}
