//! Orders, authorizations and challenges (RFC 8555 sections 7.4 and 7.5).

use serde_json::{Value, json};

use super::{
    LogLine, Profile, Validation,
    faults::Action,
    jws::Signed,
    problem::Problem,
    server::{Call, Reply},
    state::{Authz, Identifier, Order, State, Status, token},
    validate::Job,
};

pub(super) fn new(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<Reply, Problem> {
    let (account, now, asked) = (signed.account()?, state.now(), signed.json()?);
    let names = identifiers(&asked)?;
    line.names = names.iter().map(Identifier::text).collect();
    if !asked["notBefore"].is_null() || !asked["notAfter"].is_null() {
        return Err(Problem::malformed(
            "notBefore and notAfter are not supported",
        ));
    }
    let (profile, profile_shown) = profile(state, call, &asked)?;
    if names.len() > profile.max_names {
        return Err(Problem::malformed(format!(
            "more than {} names",
            profile.max_names
        )));
    }
    if !profile.addresses && names.iter().any(|name| matches!(name, Identifier::Ip(_))) {
        let detail = format!(
            "profile {} does not permit ip type identifiers",
            profile.name
        );
        return Err(Problem::new("rejectedIdentifier", detail));
    }
    let replaces = replaces(state, account, &names, &asked)?;
    if replaces.is_none() {
        let renews = state.issued.values().any(|issued| issued.names == names);
        let refused = state.limits.new_order(account, &names, renews, now);
        if state.options.enforce_limits {
            refused?;
        }
        for id in state.orders.keys().copied().collect::<Vec<_>>() {
            refresh(state, id);
        }
        let same = |order: &Order| {
            let open =
                matches!(order.status, Status::Pending | Status::Ready) && order.expires > now;
            open && order.account == account
                && order.identifiers == names
                && order.profile == profile
        };
        let found = state
            .orders
            .iter()
            .find(|(_, order)| same(order))
            .map(|(id, _)| *id);
        if let Some(id) = found.filter(|_| state.options.reuse) {
            invalidate(state, call, id);
            return Ok(answer(state, id, 201));
        }
    }
    let mut authzs = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let another = index == 0 && call.has(&Action::AuthzOfAnother);
        let name = if another {
            Identifier::of("somebody-else.test")
        } else {
            name.clone()
        };
        authzs.push(authorization(
            state,
            account,
            name,
            &profile,
            call.has(&Action::AuthzReuse),
        ));
    }
    let id = state.id();
    state.orders.insert(
        id,
        Order {
            account,
            identifiers: names,
            authzs,
            expires: now + profile.order_life,
            profile,
            profile_shown,
            replaces,
            replaces_shown: !call.has(&Action::ReplacesNotEchoed),
            status: Status::Pending,
            certificate: None,
            error: None,
            stall: 0,
            duplicated: call.has(&Action::DuplicatedIdentifier),
        },
    );
    invalidate(state, call, id);
    refresh(state, id);
    Ok(answer(state, id, 201))
}

pub(super) fn read(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<Reply, Problem> {
    let id = mine(state, call, signed, line)?;
    invalidate(state, call, id);
    let order = state.orders.get_mut(&id).expect("just found");
    order.duplicated |= call.has(&Action::DuplicatedIdentifier);
    if order.status == Status::Processing {
        order.stall -= 1;
        if order.stall == 0 {
            order.status = Status::Valid;
        }
    }
    for authz in order.authzs.clone() {
        looked_at(state, authz);
    }
    refresh(state, id);
    Ok(answer(state, id, 200))
}

/// Returns the order of a URL if it belongs to the signer and exists.
pub(super) fn mine(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<u64, Problem> {
    let (id, account, now) = (call.number(), signed.account()?, state.now());
    let order = state
        .orders
        .get(&id)
        .filter(|order| order.account == account && order.expires > now);
    let order = order.ok_or_else(|| Problem::not_found("order"))?;
    line.names = order.identifiers.iter().map(Identifier::text).collect();
    refresh(state, id);
    Ok(id)
}

pub(super) fn answer(state: &State, id: u64, status: u16) -> Reply {
    let order = &state.orders[&id];
    let mut identifiers: Vec<Value> = order.identifiers.iter().map(Identifier::json).collect();
    let mut authzs: Vec<String> = order
        .authzs
        .iter()
        .map(|id| state.url(format_args!("authz/{id}")))
        .collect();
    if order.duplicated {
        identifiers.push(identifiers[0].clone());
        authzs.push(authzs[0].clone());
    }
    let mut body = json!({
        "status": order.status.text(),
        "expires": order.expires.to_string(),
        "identifiers": identifiers,
        "authorizations": authzs,
        "finalize": state.url(format_args!("finalize/{id}")),
    });
    if let Some(profile) = &order.profile_shown {
        body["profile"] = json!(profile);
    }
    if let Some(replaces) = order.replaces.as_ref().filter(|_| order.replaces_shown) {
        body["replaces"] = json!(replaces);
    }
    if let Some(certificate) = order.certificate.filter(|_| order.status == Status::Valid) {
        body["certificate"] = json!(state.url(format_args!("cert/{certificate}")));
    }
    if let Some(error) = &order.error {
        body["error"] = error.json();
    }
    Reply::json(status, &body).header("Location", state.url(format_args!("order/{id}")))
}

/// Applies a fault to the order of a call.
pub(super) fn invalidate(state: &mut State, call: &Call, id: u64) {
    let problem = call.find(|action| {
        if let Action::OrderInvalid(problem) = action {
            Some(problem)
        } else {
            None
        }
    });
    if let (Some(problem), Some(order)) = (problem, state.orders.get_mut(&id)) {
        order.status = Status::Invalid;
        order.error = Some(problem.clone());
    }
}

pub(super) fn authz(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<Reply, Problem> {
    let id = my_authz(state, call, signed, line)?;
    if !signed.payload.is_empty() && signed.json()?["status"] == "deactivated" {
        state.authzs.get_mut(&id).expect("just found").deactivated = true;
    }
    looked_at(state, id);
    let authz = &state.authzs[&id];
    let status = match seen(authz) {
        _ if authz.deactivated => "deactivated",
        Status::Processing => "pending",
        other => other.text(),
    };
    let kinds = authz
        .kinds
        .iter()
        .filter(|kind| match (&authz.tried, status) {
            (Some((tried, _)), "valid" | "invalid") => *kind == tried,
            _ => true,
        });
    let body = json!({
        "identifier": Identifier::of(&authz.identifier.base()).json(),
        "wildcard": authz.identifier.is_wildcard(),
        "status": status,
        "expires": authz.expires.to_string(),
        "challenges": kinds.map(|kind| challenge_json(state, id, kind)).collect::<Vec<_>>(),
    });
    Ok(Reply::json(200, &body))
}

pub(super) fn challenge(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<Reply, Problem> {
    let id = my_authz(state, call, signed, line)?;
    let account_url = state.url(format_args!("acct/{}", signed.account()?));
    let authz = state.authzs.get_mut(&id).expect("just found");
    let kind = authz
        .kinds
        .iter()
        .copied()
        .find(|kind| call.sub.as_deref() == Some(*kind));
    let kind = kind.ok_or_else(|| Problem::not_found("challenge"))?;
    let stays = call.find(|action| match action {
        Action::StaysPending(which, problem) if *which == kind => Some(problem.clone()),
        _ => None,
    });
    if stays.is_some() {
        authz.tried = Some((kind, stays));
        return Ok(Reply::json(200, &challenge_json(state, id, kind)));
    }
    let begins = authz.status == Status::Pending && !authz.deactivated;
    if !signed.payload.is_empty() && signed.json()?.is_object() && begins {
        authz.status = Status::Processing;
        authz.tried = Some((kind, None));
        let stall = call.find(|action| match action {
            Action::Stall(n) => Some((*n, false)),
            Action::StallUnseen(n) => Some((*n, true)),
            _ => None,
        });
        (authz.stall, authz.is_stall_unseen) = stall.unwrap_or_default();
        let job = Job {
            authz: id,
            kind,
            identifier: authz.identifier.clone(),
            token: authz.token.clone(),
            key_authorization: format!("{}.{}", authz.token, signed.key.thumbprint()),
            account_url,
        };
        let by_fault = call.find(|action| {
            if let Action::OrderInvalid(problem) = action {
                Some(problem)
            } else {
                None
            }
        });
        match (by_fault, state.validation(&job.identifier)) {
            (Some(problem), _) => finish(state, id, Err(problem.clone())),
            (None, Validation::Fail(problem)) => finish(state, id, Err(problem)),
            (None, Validation::AlwaysValid) => finish(state, id, Ok(())),
            (None, Validation::Real { .. }) => state.jobs.push(job),
        }
    }
    let up = format!("<{}>;rel=\"up\"", state.url(format_args!("authz/{id}")));
    Ok(Reply::json(200, &challenge_json(state, id, kind)).header("Link", up))
}

/// Ends the validation of a challenge.
pub(super) fn finish(state: &mut State, id: u64, result: Result<(), Problem>) {
    let (now, pause_after) = (state.now(), state.options.pause_after);
    // The CA may have forgotten everything since.
    let Some(authz) = state.authzs.get_mut(&id) else {
        return;
    };
    match result {
        Ok(()) => {
            authz.status = Status::Valid;
            authz.expires = now + authz.reuse;
            state.limits.succeeded(authz.account, &authz.identifier);
        }
        Err(problem) => {
            authz.status = Status::Invalid;
            authz.tried = authz.tried.take().map(|(kind, _)| (kind, Some(problem)));
            state
                .limits
                .failed(authz.account, &authz.identifier, pause_after, now);
        }
    }
}

fn identifiers(asked: &Value) -> Result<Vec<Identifier>, Problem> {
    let list = asked["identifiers"]
        .as_array()
        .filter(|list| !list.is_empty());
    let mut names = Vec::new();
    for item in list.ok_or_else(|| Problem::malformed("no identifiers"))? {
        let value = item["value"].as_str().unwrap_or_default();
        let name = match (item["type"].as_str(), Identifier::of(value)) {
            (Some("dns"), Identifier::Dns(name)) if is_host(value) => Identifier::Dns(name),
            (Some("ip"), Identifier::Ip(address)) => Identifier::Ip(address),
            (Some("dns" | "ip"), _) => {
                return Err(Problem::new(
                    "rejectedIdentifier",
                    format!("not a name: {value}"),
                ));
            }
            _ => {
                return Err(Problem::new(
                    "unsupportedIdentifier",
                    item["type"].to_string(),
                ));
            }
        };
        names.push(name);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let letters = label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        letters
            && (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = name.strip_prefix("*.").unwrap_or(name);
    host.len() <= 253 && host.contains('.') && host.split('.').all(label)
}

/// Returns the profile to use, and its name in the response.
fn profile(
    state: &State,
    call: &Call,
    asked: &Value,
) -> Result<(Profile, Option<String>), Problem> {
    let default = &state.options.profiles[0];
    match asked["profile"].as_str() {
        None | Some("") => Ok((default.clone(), None)),
        Some(_) if call.has(&Action::ProfileIgnored) => Ok((default.clone(), None)),
        Some(name) => {
            let found = state
                .options
                .profiles
                .iter()
                .find(|profile| profile.name == name);
            let found = found.filter(|_| !call.has(&Action::ProfileUnknown));
            let unknown = || Problem::new("invalidProfile", format!("unknown profile {name}"));
            Ok((found.ok_or_else(unknown)?.clone(), Some(name.to_owned())))
        }
    }
}

/// Checks the certificate that an order replaces (RFC 9773 section 5).
fn replaces(
    state: &State,
    account: u64,
    names: &[Identifier],
    asked: &Value,
) -> Result<Option<String>, Problem> {
    let Some(id) = asked["replaces"].as_str() else {
        return Ok(None);
    };
    let found = state
        .issued
        .values()
        .find(|issued| issued.id == id && !issued.forgotten);
    let old = found.ok_or_else(|| Problem::not_found("certificate to replace"))?;
    if old.account != state.url(format_args!("acct/{account}")) {
        return Err(Problem::new(
            "unauthorized",
            "somebody else's certificate to replace",
        ));
    }
    if !old.names.iter().any(|name| names.contains(name)) {
        return Err(Problem::malformed(
            "no name in common with the certificate to replace",
        ));
    }
    let now = state.now();
    let lives = |order: &Order| {
        order.status == Status::Valid || order.status.is_open() && order.expires > now
    };
    if state
        .orders
        .values()
        .any(|order| order.replaces.as_deref() == Some(id) && lives(order))
    {
        return Err(Problem::new(
            "alreadyReplaced",
            "that certificate already has a replacement order",
        ));
    }
    Ok(Some(id.to_owned()))
}

/// Returns a new authorization, or one that can be reused.
fn authorization(
    state: &mut State,
    account: u64,
    name: Identifier,
    profile: &Profile,
    valid: bool,
) -> u64 {
    let now = state.now();
    let same = |authz: &Authz| {
        let good = matches!(authz.status, Status::Pending | Status::Valid)
            && !authz.deactivated
            && authz.expires > now;
        good && authz.account == account && authz.identifier == name
    };
    if let Some((id, _)) = state
        .authzs
        .iter()
        .find(|(_, authz)| same(authz) && state.options.reuse && !valid)
    {
        return *id;
    }
    let fits = |kind: &str| match &name {
        Identifier::Ip(_) => !kind.starts_with("dns-"),
        Identifier::Dns(_) => !name.is_wildcard() || kind.starts_with("dns-"),
    };
    let kinds: Vec<_> = state
        .options
        .challenges
        .iter()
        .copied()
        .filter(|kind| fits(kind))
        .collect();
    let authz = Authz {
        account,
        identifier: name,
        status: if valid {
            Status::Valid
        } else {
            Status::Pending
        },
        deactivated: false,
        expires: now
            + if valid {
                profile.authz_reuse
            } else {
                profile.authz_life
            },
        reuse: profile.authz_reuse,
        token: token(),
        tried: kinds.first().filter(|_| valid).map(|kind| (*kind, None)),
        kinds,
        stall: 0,
        is_stall_unseen: false,
    };
    let id = state.id();
    state.authzs.insert(id, authz);
    id
}

/// Brings an order's status up to that of its authorizations.
fn refresh(state: &mut State, id: u64) {
    let now = state.now();
    let Some(order) = state
        .orders
        .get_mut(&id)
        .filter(|order| order.status == Status::Pending)
    else {
        return;
    };
    let authzs: Vec<_> = order
        .authzs
        .iter()
        .filter_map(|id| state.authzs.get(id))
        .collect();
    let failed = |authz: &&Authz| {
        seen(authz) == Status::Invalid || authz.deactivated || authz.expires <= now
    };
    if let Some(authz) = authzs.iter().copied().find(failed) {
        order.status = Status::Invalid;
        let error = authz.tried.as_ref().and_then(|(_, error)| error.clone());
        order.error =
            error.or_else(|| Some(Problem::new("unauthorized", "an authorization is gone")));
    } else if authzs.iter().all(|authz| seen(authz) == Status::Valid) {
        order.status = Status::Ready;
    }
}

/// Returns the status that the account sees.
fn seen(authz: &Authz) -> Status {
    if authz.stall > 0 {
        Status::Processing
    } else {
        authz.status
    }
}

fn looked_at(state: &mut State, authz: u64) {
    if let Some(authz) = state.authzs.get_mut(&authz) {
        authz.stall = authz.stall.saturating_sub(1);
    }
}

fn my_authz(
    state: &State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<u64, Problem> {
    let (id, account, now) = (call.number(), signed.account()?, state.now());
    let authz = state
        .authzs
        .get(&id)
        .filter(|authz| authz.account == account && authz.expires > now);
    line.names = vec![
        authz
            .ok_or_else(|| Problem::not_found("authorization"))?
            .identifier
            .text(),
    ];
    Ok(id)
}

fn challenge_json(state: &State, id: u64, kind: &str) -> Value {
    let authz = &state.authzs[&id];
    let mut body = json!({"type": kind, "url": state.url(format_args!("chall/{id}/{kind}")),
        "status": "pending"});
    if kind == "dns-persist-01" {
        body["accounturi"] = json!(state.url(format_args!("acct/{}", authz.account)));
        body["issuer-domain-names"] = json!(["ca.test"]);
    } else {
        body["token"] = json!(authz.token);
    }
    if let Some((tried, error)) = &authz.tried
        && *tried == kind
        && !(authz.is_stall_unseen && seen(authz) == Status::Processing)
    {
        body["status"] = json!(seen(authz).text());
        match (seen(authz), error) {
            (Status::Valid, _) => body["validated"] = json!(state.now().to_string()),
            (Status::Invalid | Status::Pending, Some(error)) => body["error"] = error.json(),
            _ => {}
        }
    }
    body
}
