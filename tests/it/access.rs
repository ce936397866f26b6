//! Decisions of the mini cluster about generated users, roles and requests are those of a real API
//! server, and so are its refusals to grant them.

use std::process::Command;

use serde_json::{Value, json};

use super::support::{Folder, Gatelet, control_plane::ControlPlane, eventually, said};

const NAMESPACES: [&str; 2] = ["compared-0", "compared-1"];
const USERS: usize = 5;
const ROLES: usize = 24;

/// Numbers that are the same in each run (a linear congruential generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    /// Returns one or two of these.
    fn some(&mut self, of: &[&str]) -> Vec<String> {
        (0..=self.below(2))
            .map(|_| self.one(of).to_owned())
            .collect()
    }
}

const VERBS: [&str; 6] = ["get", "list", "create", "delete", "bind", "*"];
const GROUPS: [&str; 4] = ["", "apps", "rbac.authorization.k8s.io", "*"];
const RESOURCES: [&str; 6] = [
    "services",
    "services/status",
    "roles",
    "*/status",
    "*",
    "pods",
];
const PATHS: [&str; 5] = ["/a", "/a/b", "/a/*", "/a*", "*"];

fn rule(dice: &mut Dice, cluster: bool) -> Value {
    if cluster && dice.below(4) == 0 {
        return json!({ "verbs": dice.some(&VERBS), "nonResourceURLs": dice.some(&PATHS) });
    }
    let mut rule = json!({
        "verbs": dice.some(&VERBS),
        "apiGroups": dice.some(&GROUPS),
        "resources": dice.some(&RESOURCES),
    });
    if dice.below(3) == 0 {
        rule["resourceNames"] = dice.some(&["x", "y"]).into();
    }
    rule
}

/// Returns a role: a ClusterRole, or a Role of a namespace.
fn role(dice: &mut Dice, name: &str) -> Value {
    let cluster = dice.below(2) == 0;
    let rules: Vec<Value> = (0..=dice.below(2)).map(|_| rule(dice, cluster)).collect();
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": if cluster { "ClusterRole" } else { "Role" },
        "metadata": { "name": name },
        "rules": rules,
    });
    if !cluster {
        role["metadata"]["namespace"] = dice.one(&NAMESPACES).into();
    }
    role
}

/// Returns a binding of a role to a user, a group or a ServiceAccount.
fn binding(dice: &mut Dice, name: &str, role: &Value) -> Value {
    let number = dice.below(USERS);
    let subject = match dice.below(3) {
        0 => json!({ "kind": "User", "name": format!("user-{number}") }),
        1 => json!({ "kind": "Group", "name": format!("group-{number}") }),
        _ => {
            let namespace = dice.one(&NAMESPACES);
            json!({ "kind": "ServiceAccount", "name": "robot", "namespace": namespace })
        }
    };

    let cluster = role["kind"] == "ClusterRole" && dice.below(3) == 0;
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": if cluster { "ClusterRoleBinding" } else { "RoleBinding" },
        "metadata": { "name": name },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": role["kind"],
            "name": role["metadata"]["name"],
        },
        "subjects": [subject],
    });
    if !cluster {
        let own = role["metadata"]["namespace"].as_str();
        let namespace = own.unwrap_or_else(|| dice.one(&NAMESPACES)).to_owned();
        binding["metadata"]["namespace"] = namespace.into();
    }
    binding
}

/// Returns a review of an action of a user.
fn review(dice: &mut Dice) -> Value {
    let number = dice.below(USERS);
    let namespace = dice.one(&NAMESPACES);
    let user = match dice.below(3) {
        0 => format!("system:serviceaccount:{namespace}:robot"),
        _ => format!("user-{number}"),
    };
    let mut spec = json!({ "user": user, "groups": [format!("group-{}", dice.below(USERS))] });

    if dice.below(5) == 0 {
        let path = dice.one(&["/a", "/a/", "/a/b", "/ab", "/b", "/"]);
        spec["nonResourceAttributes"] = json!({ "path": path, "verb": dice.one(&VERBS) });
    } else {
        spec["resourceAttributes"] = json!({
            "verb": dice.one(&VERBS),
            "group": dice.one(&GROUPS),
            "resource": dice.one(&["services", "roles", "pods", "*"]),
            "subresource": dice.one(&["", "", "status"]),
            "name": dice.one(&["", "x", "z"]),
            "namespace": dice.one(&["", "compared-0", "compared-1"]),
        });
    }
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": spec,
    })
}

fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// The requests, and the files that they are in.
struct Game {
    folder: Folder,
    objects: String,
    reviews: String,
    grants: Vec<(String, String)>,
}

impl Game {
    fn new() -> Self {
        let (folder, mut dice) = (Folder::new(), Dice(7));
        let namespace = |name: &&str| {
            let metadata = json!({ "name": name });
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
        };
        let mut objects: Vec<Value> = NAMESPACES.iter().map(namespace).collect();
        let roles: Vec<Value> = (0..ROLES)
            .map(|number| role(&mut dice, &format!("compared-{number}")))
            .collect();
        for number in 0..2 * ROLES {
            let role = &roles[dice.below(roles.len())];
            objects.push(binding(&mut dice, &format!("compared-{number}"), role));
        }
        objects.splice(NAMESPACES.len()..NAMESPACES.len(), roles.clone());
        // The users may write roles and bindings, so that the checks of grants decide.
        objects.extend(writers());

        let reviews: Vec<Value> = (0..300).map(|_| review(&mut dice)).collect();
        let mut grants = Vec::new();
        for user in 0..USERS {
            let mut items = Vec::new();
            for number in 0..12 {
                let name = format!("granted-{user}-{number}");
                items.push(role(&mut dice, &name));
                let role = &roles[dice.below(roles.len())];
                items.push(binding(&mut dice, &name, role));
            }
            grants.push((format!("user-{user}"), list(&items)));
        }

        let path = |name: &str, text: &str| folder.write(name, text).display().to_string();
        Self {
            objects: path("objects.json", &list(&objects)),
            reviews: path("reviews.json", &list(&reviews)),
            grants: grants
                .iter()
                .map(|(user, text)| (user.clone(), path(&format!("{user}.json"), text)))
                .collect(),
            folder,
        }
    }

    /// Plays the game on a server, and returns its verdicts and its refusals.
    fn play(&self, kubectl: impl Fn(&[&str]) -> Command) -> (Vec<String>, Vec<String>) {
        let run = |arguments: &[&str]| said(&kubectl(arguments).output().expect("kubectl runs"));
        let created = run(&["create", "--validate=false", "-f", &self.objects]);
        assert!(!created.contains("rror"), "{created}");
        eventually("the last binding counts", || {
            let asked = ["auth", "can-i", "create", "roles", "-A", "--as", "user-4"];
            run(&asked).starts_with("yes").then_some(())
        });

        let form = "-o=jsonpath={.spec}{.status.allowed}{\"\\n\"}";
        let verdicts = run(&["create", "--validate=false", "-f", &self.reviews, form]);
        let mut refusals = Vec::new();
        for (user, file) in &self.grants {
            let arguments = ["create", "--dry-run=server", "--validate=false", "-f", file];
            let output = run(&[&arguments[..], &["--as", user]].concat());
            // The names of files are in the messages.
            let folder = self.folder.path().display().to_string();
            refusals.extend(output.replace(&folder, "").lines().map(str::to_owned));
        }
        (verdicts.lines().map(str::to_owned).collect(), refusals)
    }
}

/// Returns the role of those who write roles, and its binding to all users.
fn writers() -> [Value; 2] {
    let subjects: Vec<Value> = (0..USERS)
        .map(|number| json!({ "kind": "User", "name": format!("user-{number}") }))
        .collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "compared-writer" },
        "rules": [{
            "verbs": ["create"],
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
        }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "compared-writer" },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "compared-writer",
        },
        "subjects": subjects,
    });
    [role, binding]
}

#[test]
fn generated_requests_are_decided_as_by_a_real_server() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let (gatelet, game) = (Gatelet::start(), Game::new());
    let (expected, expected_refusals) = game.play(|arguments| real.kubectl_command(arguments));
    let (found, refusals) = game.play(|arguments| gatelet.kubectl_command(arguments));

    let allowed = found.iter().filter(|line| line.ends_with("true")).count();
    assert!(
        allowed > 30 && allowed < found.len() - 30,
        "{allowed} of {}",
        found.len()
    );
    assert_eq!(found.len(), 300, "{found:?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let refused = refusals
        .iter()
        .filter(|line| line.contains("is attempting to grant"))
        .count();
    assert!(refused > 20, "{refused} of {}", refusals.len());
    for (found, expected) in refusals.iter().zip(&expected_refusals) {
        assert_eq!(found, expected);
    }
    assert_eq!(refusals.len(), expected_refusals.len());
}
