//! Finalizing, certificates, revocation and renewal information (RFC 8555 sections 7.4 and 7.6, RFC
//! 9773).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Issued, LogLine,
    faults::{Action, Ari},
    issue,
    jws::Signed,
    order,
    problem::Problem,
    server::{Call, Reply},
    state::{State, Status},
};

pub(super) fn finalize(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<Reply, Problem> {
    let id = order::mine(state, call, signed, line)?;
    order::invalidate(state, call, id);
    let now = state.now();
    let order = &state.orders[&id];
    if order.status == Status::Invalid && order.error.is_some() && call.find(order_fault).is_some()
    {
        return Ok(order::answer(state, id, 200));
    }
    if order.status != Status::Ready {
        return Err(Problem::new(
            "orderNotReady",
            format!("the order is {}", order.status.text()),
        ));
    }
    let asked = signed.json()?;
    let der = asked["csr"]
        .as_str()
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let der = der.ok_or_else(|| Problem::malformed("no csr in base64url"))?;
    let csr = issue::read_csr(
        der,
        &order.identifiers,
        &signed.key.point().unwrap_or_default(),
    )?;
    let names = order.identifiers.clone();
    if order.replaces.is_none() {
        let renews = state.issued.values().any(|issued| issued.names == names);
        let refused = state.limits.issued(&names, renews, now);
        if state.options.enforce_limits {
            refused?;
        }
    }
    let wrong = call.find(|action| {
        if let Action::Chain(wrong) = action {
            Some(*wrong)
        } else {
            None
        }
    });
    let order = &state.orders[&id];
    let made = state
        .authority
        .sign(&csr, &names, &order.profile, wrong, now);
    let issued = Issued {
        id: made.id,
        account: state.url(format_args!("acct/{}", order.account)),
        names,
        profile: order.profile.name,
        chains: made.chains,
        der: made.der,
        not_before: made.not_before,
        not_after: made.not_after,
        replaces: order.replaces.clone(),
        revoked: None,
        forgotten: false,
    };
    let certificate = state.id();
    state.issued.insert(certificate, issued);
    let order = state.orders.get_mut(&id).expect("just found");
    order.certificate = Some(certificate);
    order.stall = call
        .find(|action| {
            if let Action::Stall(n) = action {
                Some(*n)
            } else {
                None
            }
        })
        .unwrap_or(0);
    order.status = if order.stall > 0 {
        Status::Processing
    } else {
        Status::Valid
    };
    Ok(order::answer(state, id, 200))
}

pub(super) fn download(state: &State, call: &Call, signed: &Signed) -> Result<Reply, Problem> {
    let account = state.url(format_args!("acct/{}", signed.account()?));
    let issued = state
        .issued
        .get(&call.number())
        .filter(|issued| issued.account == account && !issued.forgotten);
    let issued = issued.ok_or_else(|| Problem::not_found("certificate"))?;
    let asked = call
        .sub
        .as_ref()
        .map_or(Some(0), |number| number.parse().ok());
    let chain = asked.and_then(|index: usize| issued.chains.get(index).map(|chain| (index, chain)));
    let (index, chain) = chain.ok_or_else(|| Problem::not_found("chain"))?;
    let mut reply = Reply {
        status: 200,
        headers: Vec::new(),
        body: chain.clone().into_bytes(),
    }
    .header("Content-Type", "application/pem-certificate-chain");
    for other in (0..issued.chains.len()).filter(|other| *other != index) {
        let url = state.url(format_args!("cert/{}/{other}", call.id));
        reply = reply.header("Link", format!("<{url}>;rel=\"alternate\""));
    }
    Ok(reply)
}

pub(super) fn revoke(state: &mut State, signed: &Signed) -> Result<Reply, Problem> {
    let asked = signed.json()?;
    let der = asked["certificate"]
        .as_str()
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let account = signed
        .account()
        .ok()
        .map(|id| state.url(format_args!("acct/{id}")));
    let found = state
        .issued
        .values_mut()
        .find(|issued| Some(issued.der.to_vec()) == der && !issued.forgotten);
    let issued = found.ok_or_else(|| Problem::not_found("certificate"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&issued.der).expect("we made it");
    let key = parsed.public_key().subject_public_key.data.to_vec();
    if account.as_ref() != Some(&issued.account) && signed.key.point() != Some(key) {
        return Err(Problem::new(
            "unauthorized",
            "neither the account's nor the certificate's key",
        ));
    }
    let reason = asked["reason"].as_u64().unwrap_or(0);
    if ![0, 1, 3, 4, 5].contains(&reason) {
        return Err(Problem::new("badRevocationReason", reason.to_string()));
    }
    if issued.revoked.is_some() {
        return Err(Problem::new("alreadyRevoked", "it is revoked"));
    }
    issued.revoked = Some(reason);
    Ok(Reply::empty(200))
}

pub(super) fn renewal_info(state: &State, call: &Call, now: Timestamp) -> Result<Reply, Problem> {
    let ari = call.find(|action| {
        if let Action::Ari(how) = action {
            Some(*how)
        } else {
            None
        }
    });
    let found = state
        .issued
        .values()
        .find(|issued| issued.id == call.id && !issued.forgotten);
    let issued = found
        .filter(|_| ari != Some(Ari::NotFound))
        .ok_or_else(|| Problem::not_found("certificate"))?;
    let hours = SignedDuration::from_hours;
    let life = issued.not_after.duration_since(issued.not_before);
    let start = match ari {
        Some(Ari::BeyondExpiry) => issued.not_after + hours(24),
        Some(Ari::Moved) => now + hours(1),
        Some(Ari::Past) => now - hours(2),
        _ if issued.revoked.is_some() => now - hours(2),
        _ => issued.not_after - life / 3,
    };
    let width = if ari == Some(Ari::Past) || issued.revoked.is_some() {
        hours(1)
    } else {
        life / 45
    };
    let mut body = json!({"suggestedWindow": {"start": start.to_string(),
        "end": (start + width).to_string()}});
    match ari {
        Some(Ari::Garbage) => body["suggestedWindow"]["start"] = json!("the day after tomorrow"),
        Some(Ari::Moved) => body["explanationURL"] = json!(state.url("incident")),
        _ => {}
    }
    let reply = Reply::json(200, &body);
    Ok(if ari == Some(Ari::NoRetryAfter) {
        reply
    } else {
        reply.header("Retry-After", "21600")
    })
}

fn order_fault(action: &Action) -> Option<()> {
    matches!(action, Action::OrderInvalid(_)).then_some(())
}
