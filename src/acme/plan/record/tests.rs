use serde_json::{Value, json};

use super::*;

/// Checks that a record of an earlier version is read, and written again alike.
fn survives<T: Record>(record: &Value) {
    let stored = json!({ "version": VERSION, "record": record });
    let read: T = from_bytes(stored.to_string().as_bytes()).expect(T::AREA);
    let written: Value = serde_json::from_slice(&to_bytes(&read)).expect("JSON");
    assert_eq!(written, stored, "{}", T::AREA);
}

#[test]
fn times_in_records_are_plain_numbers() {
    survives::<Account>(&json!({
        "directory": "https://ca.example/directory", "key": "a2V5", "url": null,
        "contacts": [], "replaced": 1_800_000_000,
    }));
    survives::<PendingOrder>(&json!({
        "issuer": "lab", "names": ["a.example"], "key": "key", "csr": "Y3Ny", "order": null,
        "created": 1_800_000_000, "print": 7, "counted": [["account", 1_800_000_001]],
        "dns": [["_acme-challenge.a.example", "proof"]],
    }));
    survives::<Revocation>(&json!({
        "want": "web/a", "directory": "", "certificate": "", "reason": null,
        "not_after": 1_800_000_000,
    }));
    survives::<StoredCertificate>(&json!({
        "chain": "chain", "key": "key", "names": ["a.example"], "issuer": "lab",
        "directory": "", "not_before": -1, "not_after": 1_800_000_001, "stored": 1_800_000_002,
        "print": 7, "ari": "", "revoked": false, "unwanted": 1_800_000_003, "previous": null,
    }));
    survives::<Vec<FailureState>>(&json!([{
        "issuer": "lab", "class": "transport", "attempts": 2, "since": 1_800_000_000,
        "last": 1_800_000_001, "not_before": 1_800_000_002, "problem": "down", "advice": "",
        "print": 7, "failed_challenges": ["http-01", "tls-alpn-01"],
    }]));
    survives::<Suggestion>(&json!({
        "start": 1_800_000_000, "end": 1_800_000_002, "chosen": 1_800_000_001,
        "explanation": null,
    }));
    survives::<Budget>(&json!({
        "failures": { "a.example": { "times": [1_800_000_000], "in_a_row": 1 } },
        "issued": { "a.example": [1_800_000_001] },
        "orders": [1_800_000_002],
    }));
    survives::<Floor>(&json!({ "floor": 1_800_000_000 }));
}
