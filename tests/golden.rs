//! Every shape ever stored can be read, and is written so again: one file a shape, never edited.

use std::fs;
use std::path::Path;

use entrenous::event_log::codec;
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0192_f0c1_5e2f_7cc3_98c4_dc0c_0c07_398f);

#[test]
fn every_golden_shape_is_read_and_written_to_the_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut kinds = Vec::new();
    for entry in fs::read_dir(folder).expect("the golden files") {
        let path = entry.expect("a file").path();
        let data = fs::read_to_string(&path).expect("a shape");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let kind = name.split('.').next().expect("a type");
        let event = codec::decode(kind, data.trim_end(), ID).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(codec::encode(&event), (kind_of(kind), data.trim_end().to_owned()), "{name}");
        kinds.push(kind.to_owned());
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, KINDS, "each type has its golden file");
}

const KINDS: [&str; 10] = [
    "ContactableChanged",
    "ConversationDeleted",
    "ConversationReopened",
    "MessageSent",
    "MessagesRead",
    "ProfileUpdated",
    "SectionConfigured",
    "UserBlocked",
    "UserRegistered",
    "UserUnblocked",
];

fn kind_of(kind: &str) -> &'static str {
    KINDS.iter().find(|known| **known == kind).unwrap_or_else(|| panic!("{kind} is no event type"))
}

#[test]
fn what_is_no_event_is_refused_without_being_quoted() {
    let refused = |kind: &str, data: &str| codec::decode(kind, data, ID).expect_err("no event").to_string();
    assert!(refused("Unheard", "{}").contains("Unheard"));
    for data in ["", "{}", "null", "{\"sender\":1}", "{\"text\":\"a secret\"}", "[\"a secret\""] {
        let message = refused("MessageSent", data);
        assert!(message.contains("MessageSent") && !message.contains("secret"), "{message}");
    }
    assert!(codec::decode("SectionConfigured", r#"{"title":"x","listTemplate":9,"detailTemplate":1}"#, ID).is_err());
    let with_more = r#"{"user":"alice","contactable":false,"later":"a field that a newer version added"}"#;
    assert!(codec::decode("ContactableChanged", with_more, ID).is_ok());
}
