use super::*;

#[test]
fn key_types_are_written_as_they_are_named() {
    for key_type in KeyType::ALL {
        let text = serde_json::to_value(key_type).expect("text");
        assert_eq!(text, key_type.name());
        let bits = key_type.name().strip_prefix("rsa");
        assert_eq!(bits.and_then(|bits| bits.parse().ok()), key_type.rsa_bits());
    }
}
