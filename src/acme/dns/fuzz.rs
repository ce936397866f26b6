//! Entry points for `fuzz/`: messages of DNS servers.

use hickory_proto::rr::{Name, RecordType};

use super::wire;

/// Reads the response to a question.
pub fn response(data: &[u8]) {
    let name = Name::from_ascii("a.test.").expect("a name");
    drop(wire::parse(&wire::question(&name, RecordType::TXT), data));
}
