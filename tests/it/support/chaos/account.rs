//! The directory and accounts (RFC 8555 sections 7.1.1 and 7.3).

use serde_json::{Value, json};

use super::{
    faults::{Action, Ari, Endpoint},
    jws::{self, Signed},
    problem::Problem,
    server::{Call, Reply},
    state::{Account, State},
};

pub(super) fn directory(state: &State, call: &Call) -> Reply {
    let new = |what: &str| state.url(format_args!("new/{}/{what}", state.moved));
    let mut directory = json!({
        "newNonce": new("nonce"),
        "newAccount": new("account"),
        "newOrder": new("order"),
        "keyChange": new("key"),
        "revokeCert": new("revocation"),
        "renewalInfo": state.url("ari"),
        "meta": {
            "website": state.url(""),
            "caaIdentities": ["ca.test"],
            "profiles": {},
        },
        // Clients must ignore unknown members.
        "somethingNew": state.url("news"),
    });
    for profile in &state.options.profiles {
        directory["meta"]["profiles"][profile.name] =
            Value::from(state.url(format_args!("profiles/{}", profile.name)));
    }
    if state.options.terms {
        directory["meta"]["termsOfService"] = Value::from(terms(state));
    }
    if !state.options.eab.is_empty() {
        directory["meta"]["externalAccountRequired"] = Value::from(true);
    }
    if call.has(&Action::Ari(Ari::Missing)) {
        directory
            .as_object_mut()
            .expect("an object")
            .remove("renewalInfo");
    }
    Reply::json(200, &directory)
}

/// The URL of the terms of service.
pub(super) fn terms(state: &State) -> String {
    state.url(format_args!("terms/{}", state.terms))
}

/// Refuses accounts that are deactivated or have not agreed to the terms.
pub(super) fn may_act(state: &mut State, call: &Call, signed: &Signed) -> Result<(), Problem> {
    let Ok(id) = signed.account() else {
        return Ok(());
    };
    let account = state.accounts.get_mut(&id).expect("it has signed");
    account.deactivated |= call.has(&Action::AccountDeactivated);
    if account.deactivated {
        return Err(Problem::new(
            "unauthorized",
            "account is not valid, has status \"deactivated\"",
        ));
    }
    if state.options.terms && account.agreed != state.terms && call.endpoint != Endpoint::Account {
        return Err(Problem::new(
            "userActionRequired",
            "the terms of service have changed",
        ));
    }
    Ok(())
}

pub(super) fn new(state: &mut State, call: &Call, signed: &Signed) -> Result<Reply, Problem> {
    let asked = signed.json()?;
    let agrees = asked["termsOfServiceAgreed"] == true;
    if let Some((id, account)) = state
        .accounts
        .iter_mut()
        .find(|(_, account)| account.key == signed.key)
    {
        if account.deactivated && !state.options.finds_ended {
            return Err(Problem::new(
                "unauthorized",
                "an account with this key is deactivated",
            ));
        }
        // Google's are good for one account.
        if !asked["externalAccountBinding"].is_null() {
            return Err(Problem::malformed("the external account key has been used"));
        }
        if agrees {
            account.agreed = state.terms;
        }
        let id = *id;
        return Ok(answer(state, id, 200));
    }
    if asked["onlyReturnExisting"] == true {
        return Err(Problem::new(
            "accountDoesNotExist",
            "no account with this key",
        ));
    }
    let contact = contact(&asked)?.unwrap_or_else(|| json!([]));
    if state.options.terms && !agrees {
        return Err(Problem::malformed("must agree to the terms of service"));
    }
    match &asked["externalAccountBinding"] {
        Value::Null if state.options.eab.is_empty() => {}
        Value::Null => {
            return Err(Problem::new(
                "externalAccountRequired",
                "an external account binding is needed",
            ));
        }
        eab => {
            let kid = jws::bound(eab, &call.url, &signed.key, &state.options.eab)?;
            if !state.bound.insert(kid) && state.options.eab_once {
                return Err(Problem::new(
                    "unauthorized",
                    "the external account is spent",
                ));
            }
        }
    }
    let now = state.now();
    let refused = state.limits.new_account(now);
    if state.options.enforce_limits {
        refused?;
    }
    let id = state.id();
    let agreed = if agrees { state.terms } else { 0 };
    state.accounts.insert(
        id,
        Account {
            key: signed.key.clone(),
            contact,
            deactivated: false,
            agreed,
        },
    );
    Ok(answer(state, id, 201))
}

pub(super) fn update(state: &mut State, call: &Call, signed: &Signed) -> Result<Reply, Problem> {
    let id = signed.account()?;
    if id != call.number() {
        return Err(Problem::new("unauthorized", "somebody else's account"));
    }
    if !signed.payload.is_empty() {
        let asked = signed.json()?;
        let contact = contact(&asked)?;
        let account = state.accounts.get_mut(&id).expect("it has signed");
        account.contact = contact.unwrap_or_else(|| account.contact.take());
        account.deactivated = asked["status"] == "deactivated";
        if asked["termsOfServiceAgreed"] == true {
            account.agreed = state.terms;
        }
    }
    Ok(answer(state, id, 200))
}

pub(super) fn key_change(
    state: &mut State,
    call: &Call,
    signed: &Signed,
) -> Result<Reply, Problem> {
    let id = signed.account()?;
    let url = state.url(format_args!("acct/{id}"));
    let key = jws::new_key(&signed.payload, &call.url, &url, &signed.key)?;
    if let Some((taken, _)) = state
        .accounts
        .iter()
        .find(|(_, account)| account.key == key)
    {
        let problem = Problem::malformed("another account has this key").status(409);
        return Ok(
            Reply::problem(&problem).header("Location", state.url(format_args!("acct/{taken}")))
        );
    }
    state.accounts.get_mut(&id).expect("it has signed").key = key;
    Ok(answer(state, id, 200))
}

fn contact(asked: &Value) -> Result<Option<Value>, Problem> {
    let Some(contacts) = asked["contact"].as_array() else {
        return Ok(None);
    };
    for contact in contacts {
        match contact.as_str().and_then(|text| text.split_once(':')) {
            Some(("mailto", address)) if address.contains('@') && !address.contains([',', '?']) => {
            }
            Some(("mailto", _)) | None => {
                return Err(Problem::new("invalidContact", contact.to_string()));
            }
            Some(_) => return Err(Problem::new("unsupportedContact", contact.to_string())),
        }
    }
    Ok(Some(asked["contact"].clone()))
}

fn answer(state: &State, id: u64, status: u16) -> Reply {
    let account = &state.accounts[&id];
    let text = if account.deactivated {
        "deactivated"
    } else {
        "valid"
    };
    let body =
        json!({"status": text, "contact": account.contact, "key": Value::from(&account.key)});
    Reply::json(status, &body).header("Location", state.url(format_args!("acct/{id}")))
}
