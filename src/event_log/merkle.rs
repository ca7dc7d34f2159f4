//! The Merkle tree over the log, in its order, as [RFC 6962](https://www.rfc-editor.org/rfc/rfc6962#section-2.1) has
//! it: what makes it evident that an event was changed, dropped or moved. An event's leaf is made of everything that
//! the log holds of it but its position, which is its place in the tree; so a copy of a log has the same root.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::StoredEvent;

/// A SHA-256 of a leaf or of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    /// Base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl Hash {
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The root of the empty tree.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// An event's leaf: a zero byte, then each field after its length, numbers and lengths in eight bytes, the highest first.
    #[must_use]
    pub fn of_leaf(event: &StoredEvent) -> Self {
        let StoredEvent { position: _, stream, version, id, kind, at, actor, correlation, causation, data } = event;
        let mut hasher = Sha256::new();
        hasher.update([0]);
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        field(stream.as_bytes());
        field(&version.to_be_bytes());
        field(id.as_bytes());
        field(kind.as_bytes());
        field(&at.0.to_be_bytes());
        // A user id is never empty, so that nobody acted is told apart.
        field(actor.as_deref().unwrap_or_default().as_bytes());
        field(correlation.as_bytes());
        field(causation.as_bytes());
        field(data.as_bytes());
        Self(hasher.finalize().into())
    }

    /// The node above two.
    #[must_use]
    pub fn of_node(left: Self, right: Self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([1]);
        hasher.update(left.0);
        hasher.update(right.0);
        Self(hasher.finalize().into())
    }
}

/// The roots of the full subtrees that a tree is made of, the largest first: enough to go on, and for its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        // Two subtrees of the same size become one, as ones carry when a binary number grows.
        let carries = self.roots.len() - self.size.trailing_ones() as usize;
        for left in self.roots.drain(carries..).rev() {
            root = Hash::of_node(left, root);
        }
        self.roots.push(root);
        self.size += 1;
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev().copied();
        let last = roots.next().unwrap_or_else(Hash::of_nothing);
        roots.fold(last, |right, left| Hash::of_node(left, right))
    }

    /// As it is kept beside its size.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.roots.iter().flat_map(|root| root.0).collect()
    }

    /// None for what was never kept.
    pub(super) fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let is_whole = rest.is_empty() && roots.len() == size.count_ones() as usize;
        is_whole.then(|| Self { size, roots: roots.iter().copied().map(Hash).collect() })
    }
}

impl Extend<Hash> for Frontier {
    fn extend<T: IntoIterator<Item = Hash>>(&mut self, leaves: T) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots that implementations of Certificate Transparency are tested with.
    #[test]
    fn the_roots_are_those_of_certificate_transparency() {
        let inputs: [&[u8]; 8] = [b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        for (input, root) in inputs.into_iter().zip(roots) {
            tree.push(Hash(Sha256::new().chain_update([0]).chain_update(input).finalize().into()));
            let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&root[at..at + 2], 16).expect("a byte")).collect();
            assert_eq!(tree.root().0[..], bytes);
            assert_eq!(Frontier::from_bytes(tree.size(), &tree.to_bytes()), Some(tree.clone()));
            assert_eq!(Frontier::from_bytes(tree.size(), &tree.to_bytes()[1..]), None);
        }
    }
}
