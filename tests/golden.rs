//! Every shape ever stored can be read, and the present ones are written so again: one file a shape, never edited.
//! `TYPE.json` is a type's first shape, `TYPE.2.json` its second; a word after it tells variants apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use entrenous::domain::community::UserRegistered;
use entrenous::domain::conversation::ConversationEvent;
use entrenous::domain::event::Event;
use entrenous::domain::profile::Profile;
use entrenous::domain::text::MessageText;
use entrenous::event_log::codec::{self, DecodeError};
use entrenous::event_log::keys::{Key, Unlocked};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0192_f0c1_5e2f_7cc3_98c4_dc0c_0c07_398f);

/// The key that every golden file is sealed under.
fn key() -> Key {
    Key::new(*b"the key of every golden file ...")
}

fn decode(kind: &str, data: &str) -> Result<Event, DecodeError> {
    codec::decode(kind, data, ID, |name| if name == key().name() { Unlocked::Key(key()) } else { Unlocked::Unknown })
}

/// Every golden file: type, shape, name and data.
fn corpus() -> Vec<(String, u8, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let read = |path: &Path| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let mut parts = name.split('.');
        let kind = parts.next().expect("a type").to_owned();
        let shape = parts.next().and_then(|part| part.parse().ok()).unwrap_or(1);
        (kind, shape, name, fs::read_to_string(path).expect("a shape").trim_end().to_owned())
    };
    let mut corpus: Vec<_> = fs::read_dir(folder).expect("the golden files").map(|entry| read(&entry.expect("a file").path())).collect();
    corpus.sort();
    corpus
}

const PRESENT: [(&str, u8); 11] = [
    ("ContactableChanged", 1),
    ("ConversationDeleted", 1),
    ("ConversationReopened", 1),
    ("MessageSent", 2),
    ("MessagesRead", 1),
    ("ProfileUpdated", 2),
    ("SectionConfigured", 1),
    ("UserBlocked", 1),
    ("UserErased", 1),
    ("UserRegistered", 2),
    ("UserUnblocked", 1),
];

#[test]
fn every_golden_shape_is_read_and_the_present_ones_are_written_to_the_byte() {
    let mut newest = BTreeMap::new();
    let mut events = BTreeMap::new();
    for (kind, shape, name, data) in corpus() {
        let event = decode(&kind, &data).unwrap_or_else(|error| panic!("{name}: {error}"));
        let present = PRESENT.iter().find(|(present, _)| *present == kind).unwrap_or_else(|| panic!("{kind} is no event type"));
        if shape == present.1 {
            assert_eq!(codec::encode(&event, ID, Some(&key())), (present.0, data), "{name}");
        }
        // A variant means the same in every shape that it was written in.
        let variant = name.split('.').filter(|part| part.parse::<u8>().is_err()).collect::<Vec<_>>().join(".");
        assert_eq!(events.entry(variant).or_insert_with(|| event.clone()), &event, "{name}");
        newest.entry(kind).and_modify(|newest: &mut u8| *newest = shape.max(*newest)).or_insert(shape);
    }
    let newest: Vec<(&str, u8)> = newest.iter().map(|(kind, shape)| (kind.as_str(), *shape)).collect();
    assert_eq!(newest, PRESENT, "each type has its golden files");
}

#[test]
fn what_is_no_event_is_refused_without_being_quoted() {
    let refused = |kind: &str, data: &str| decode(kind, data).expect_err("no event").to_string();
    assert!(refused("Unheard", "{}").contains("Unheard"));
    for data in ["", "{}", "null", "{\"sender\":1}", "{\"text\":\"a secret\"}", "[\"a secret\""] {
        let message = refused("MessageSent", data);
        assert!(message.contains("MessageSent") && !message.contains("secret"), "{message}");
    }
    assert!(decode("SectionConfigured", r#"{"title":"x","listTemplate":9,"detailTemplate":1}"#).is_err());
    let with_more = r#"{"user":"alice","contactable":false,"later":"a field that a newer version added"}"#;
    assert!(decode("ContactableChanged", with_more).is_ok());
}

#[test]
fn a_shape_of_a_newer_version_is_refused_by_its_number() {
    let newer = r#"{"shape":3,"sender":"alice","recipient":"bob","text":{"clear":"salut"},"number":1,"senderNumber":1}"#;
    assert!(matches!(decode("MessageSent", newer), Err(DecodeError::Newer { kind: "MessageSent", shape: 3 })));
    let none = newer.replace("\"shape\":3", "\"shape\":0");
    assert!(matches!(decode("MessageSent", &none), Err(DecodeError::Newer { shape: 0, .. })));
    for (kind, shape, name, data) in corpus().into_iter().filter(|(kind, shape, ..)| PRESENT.contains(&(kind, *shape))) {
        let (begun, last) = (data.replace(&format!("\"shape\":{shape},"), ""), format!(",\"shape\":{}}}", shape + 1));
        let newer = begun.strip_suffix('}').expect("an object").to_owned() + &last;
        assert!(matches!(decode(&kind, &newer), Err(DecodeError::Newer { shape: found, .. }) if found == shape + 1), "{name}");
    }
}

#[test]
fn what_is_sealed_opens_with_its_key_alone() {
    for (kind, shape, name, data) in corpus().into_iter().filter(|(kind, ..)| PRESENT.contains(&(kind, 2))) {
        if shape == 1 {
            continue;
        }
        for told in ["Alice", "http", "demain"] {
            assert!(!data.contains(told), "{name}");
        }
        assert!(matches!(codec::decode(&kind, &data, ID, |_| Unlocked::Unknown), Err(DecodeError::NoKey(lacking)) if lacking == key().name()), "{name}");
        assert!(matches!(codec::decode(&kind, &data, ID, |_| Unlocked::Key(Key::new([1; 32]))), Err(DecodeError::Sealed)), "{name}");
        assert!(matches!(codec::decode(&kind, &data, Uuid::nil(), |_| Unlocked::Key(key())), Err(DecodeError::Sealed)), "another event, {name}");
        match codec::decode(&kind, &data, ID, |_| Unlocked::Destroyed).expect("readable") {
            Event::Conversation(ConversationEvent::MessageSent(message)) => assert_eq!(message.text, MessageText::erased()),
            Event::Community(UserRegistered { profile, .. }) => assert_eq!(profile, Profile::erased()),
            Event::User(event) => assert!(format!("{event:?}").contains("Deleted user"), "{event:?}"),
            other => panic!("{other:?}"),
        }
        let clear = codec::reveal(&data, ID, |_| Unlocked::Key(key()));
        assert!(!clear.contains("sealed") && !clear.contains("shape"), "{clear}");
        assert!(codec::reveal(&data, ID, |_| Unlocked::Destroyed).contains("null"));
        assert!(codec::reveal(&data, ID, |_| Unlocked::Unknown).contains("sealed"));
    }
}
