//! JSON as it is written down, a piece after the other (RFC 8259). Most of an answer are rows that were read already;
//! between them and the text there is nothing else.

use serde::Serialize;

/// A text of JSON that grows.
#[derive(Debug, Default)]
pub(super) struct Json(Vec<u8>);

impl Json {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// What is JSON already.
    pub(super) fn raw(&mut self, json: &[u8]) {
        self.0.extend_from_slice(json);
    }

    pub(super) fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.0, value).expect("memory takes any text, and keys are strings");
    }

    pub(super) fn null(&mut self) {
        self.raw(b"null");
    }

    /// A list of what `each` writes of the items; none where one cannot be written.
    pub(super) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(T, &mut Self) -> Option<()>) -> Option<()> {
        self.0.push(b'[');
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                self.0.push(b',');
            }
            each(item, self)?;
        }
        self.0.push(b']');
        Some(())
    }

    /// An object, whose entries are written between.
    pub(super) fn object(&mut self) -> Object<'_> {
        self.0.push(b'{');
        Object { json: self, is_empty: true }
    }
}

/// An object that is being written. It is whole once it is ended.
pub(super) struct Object<'a> {
    json: &'a mut Json,
    is_empty: bool,
}

impl Object<'_> {
    /// The next entry's key; its value is to be written after it.
    pub(super) fn key(&mut self, key: &str) -> &mut Json {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.json.0.push(b',');
        }
        self.json.value(key);
        self.json.0.push(b':');
        self.json
    }

    pub(super) fn end(self) {
        self.json.0.push(b'}');
    }
}
