//! Middlewares that decide who may come in: `ipAllowList`, `basicAuth` and `digestAuth`.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use super::{Fields, Making, Problem, fields::name};
use crate::{
    controller::{
        Reason,
        objects::Name,
        users::{self, Form, RawUsers, UserList},
    },
    routing::{Access, Login, RequestStep, Users},
};

impl Making<'_> {
    pub(super) fn ip_allow_list(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let ranges = fields.texts("sourceRange")?;
        if ranges.is_empty() {
            return Err(fields.invalid("sourceRange", "it is empty"));
        }
        let network = |text: &&str| {
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            let network = text.parse().ok().or_else(address);
            network.ok_or_else(|| {
                let why = format!("{text:?} is neither an address nor a network");
                fields.invalid("sourceRange", why)
            })
        };
        let networks: Vec<IpNet> = ranges.iter().map(network).collect::<Result<_, _>>()?;

        let depth = match fields.part("ipStrategy")? {
            None => None,
            Some(mut strategy) => {
                let depth = strategy.number("depth")?;
                for field in ["excludedIPs", "ipv6Subnet"] {
                    strategy.absent(field, "addresses are those of the client, or at a depth")?;
                }
                strategy.finish()?;
                depth.and_then(|depth| NonZeroUsize::new(usize::try_from(depth).ok()?))
            }
        };
        if depth.is_some() {
            self.unchanged(&fields, &["x-forwarded-for"])?;
        }

        let status = match fields.number("rejectStatusCode")?.filter(|code| *code != 0) {
            None => None,
            Some(code) => Some(error_status(code).ok_or_else(|| {
                fields.unsupported("rejectStatusCode", "it is not from 400 to 599")
            })?),
        };
        fields.finish()?;
        self.access(Access {
            from: self.from(),
            allowed: [networks.into_iter().collect()].into(),
            status,
            depth,
            ..Access::default()
        });
        Ok(())
    }

    pub(super) fn basic_auth(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        self.unchanged(&fields, &["authorization"])?;
        let secret = fields.needed("secret")?;
        let realm = fields.text("realm")?.unwrap_or("traefik");
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""));
        let challenge =
            challenge.map_err(|_control| fields.invalid("realm", "it has a control character"))?;
        let users = self.users(&fields, secret, Form::OnlyKey.place(), |raw| {
            users::parse(raw, Form::OnlyKey)
        })?;
        self.login(fields, challenge, None, users)
    }

    pub(super) fn digest_auth(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        const PLACE: &str = "in its only key (name:realm:digest in each line)";
        self.unchanged(&fields, &["authorization"])?;
        let secret = fields.needed("secret")?;
        let realm = fields.text("realm")?.unwrap_or("traefik");
        if HeaderValue::from_str(realm).is_err() || realm.contains(['"', '\\']) {
            let why = "it has a quote, a backslash or a control character";
            return Err(fields.invalid("realm", why));
        }
        let users = self.users(&fields, secret, PLACE, |raw| {
            users::parse_digests(raw, realm)
        })?;
        let challenge = HeaderValue::from_static("Digest");
        self.login(fields, challenge, Some(realm.into()), users)
    }

    /// Makes the step of a login, with the rest of its fields.
    fn login(
        &mut self,
        mut fields: Fields<'_>,
        challenge: HeaderValue,
        digest_realm: Option<Box<str>>,
        users: Users,
    ) -> Result<(), Problem> {
        let user_field = match fields.text("headerField")? {
            None => None,
            Some(text) => Some(name(&fields, "headerField", text)?),
        };
        let passes_on = !fields.flag("removeHeader")?;
        fields.finish()?;

        let user_field_name = user_field.as_ref().map(HeaderName::as_str);
        self.made.changed.extend(user_field_name.map(Into::into));
        let users = self.backends.share_users(users);
        self.access(Access {
            from: self.from(),
            login: Some(Login {
                challenge,
                digest_realm,
                users,
                passes_on,
                user_field,
            }),
            ..Access::default()
        });
        Ok(())
    }

    fn access(&mut self, access: Access) {
        self.step(RequestStep::Access(Arc::new(access)));
    }

    /// Reads the users of a Secret of the namespace of the Middleware. They are at a `place` in it.
    fn users(
        &mut self,
        fields: &Fields<'_>,
        secret: &str,
        place: &str,
        parse: impl Fn(&RawUsers) -> UserList,
    ) -> Result<Users, Problem> {
        let secret: Name = (self.namespace(), secret.into());
        self.made.references.secrets.push(secret.clone());
        let text = format!("Secret {}/{}", secret.0, secret.1);
        let problem = |reason, why| Problem {
            reason,
            field: fields.field("secret"),
            why,
        };
        let fact = match self.objects.secrets.get(&secret) {
            Some(fact) => fact,
            None if self.objects.secrets_refused => {
                let why = format!("the cluster does not show {text}");
                return Err(problem(Reason::SecretsForbidden, why));
            }
            None => {
                let why = format!("{text} does not exist, or has no users");
                return Err(problem(Reason::SecretNotFound, why));
            }
        };

        let list = fact.users.as_ref();
        let list = list.map(parse).unwrap_or_default();
        if list.users.is_empty() {
            let why = format!("{text} has no usable user {place}");
            return Err(problem(Reason::InvalidSecret, why));
        }
        for (user, error) in list.unusable.iter().take(3) {
            let why = format!("user {user:?} of {text} cannot log in: {error}");
            self.warn(Reason::InvalidSecret, &fields.field("secret"), &why);
        }
        Ok(list.users)
    }
}

fn error_status(code: i64) -> Option<StatusCode> {
    let status = StatusCode::from_u16(u16::try_from(code).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}
