//! Proofs about the log's Merkle tree, by the algorithms of [RFC 9162](https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3):
//! that an event is in it, and that a later tree goes on from an earlier one. A proof is some tens of hashes, whatever the
//! log's length; making one reads the whole log once.

use std::ops::Range;

use crate::event_log::merkle::{Frontier, Hash};

/// The parts of a tree whose roots a proof is made of, in the proof's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline(Vec<Range<u64>>);

impl Outline {
    /// That the leaf `index` (from 0) is among the first `size`.
    #[must_use]
    pub fn of_inclusion(index: u64, size: u64) -> Self {
        let (mut parts, mut part) = (Vec::new(), 0..size);
        while part.end - part.start > 1 {
            let middle = part.start + left_size(part.end - part.start);
            let (taken, other) = if index < middle { (part.start..middle, middle..part.end) } else { (middle..part.end, part.start..middle) };
            parts.push(other);
            part = taken;
        }
        parts.reverse();
        Self(parts)
    }

    /// That the tree of the first `size` leaves goes on from that of the first `earlier`.
    #[must_use]
    pub fn of_consistency(earlier: u64, size: u64) -> Self {
        let (mut parts, mut part, mut is_whole) = (Vec::new(), 0..size, true);
        if earlier == 0 {
            return Self(parts);
        }
        while part.end != earlier {
            let middle = part.start + left_size(part.end - part.start);
            if earlier <= middle {
                parts.push(middle..part.end);
                part.end = middle;
            } else {
                parts.push(part.start..middle);
                part.start = middle;
                is_whole = false;
            }
        }
        if !is_whole {
            parts.push(part);
        }
        parts.reverse();
        Self(parts)
    }
}

/// The size of the left subtree: the largest power of two below the whole.
fn left_size(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Makes a proof's hashes of the leaves, one after the other.
pub struct Prover {
    outline: Outline,
    trees: Vec<Frontier>,
    next: u64,
}

impl Prover {
    #[must_use]
    pub fn new(outline: Outline) -> Self {
        Self { trees: vec![Frontier::default(); outline.0.len()], outline, next: 0 }
    }

    pub fn push(&mut self, leaf: Hash) {
        if let Some(part) = self.outline.0.iter().position(|part| part.contains(&self.next)) {
            self.trees[part].push(leaf);
        }
        self.next += 1;
    }

    #[must_use]
    pub fn finish(self) -> Vec<Hash> {
        self.trees.iter().map(Frontier::root).collect()
    }
}

/// Whether `path` leads from a leaf to the root of the tree of `size` leaves.
#[must_use]
pub fn is_included(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for &sibling in path {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = Hash::of_node(sibling, hash);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::of_node(hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `path` shows that a later tree begins with the leaves of an earlier one. Sizes are counts of leaves.
#[must_use]
pub fn is_consistent((earlier, earlier_root): (u64, Hash), (later, later_root): (u64, Hash), path: &[Hash]) -> bool {
    if earlier > later || earlier == 0 {
        return earlier == 0 && path.is_empty() && earlier_root == Hash::of_nothing();
    }
    if earlier == later {
        return path.is_empty() && earlier_root == later_root;
    }
    let own = earlier.is_power_of_two().then_some(earlier_root);
    let mut hashes = own.into_iter().chain(path.iter().copied());
    let Some(first) = hashes.next() else { return false };
    let (mut place, mut last) = (earlier - 1, later - 1);
    while place % 2 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (first, first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            old = Hash::of_node(hash, old);
            new = Hash::of_node(hash, new);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = Hash::of_node(new, hash);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old == earlier_root && new == later_root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(n: u64) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Hash(bytes)
    }

    fn root(size: u64) -> Hash {
        let mut tree = Frontier::default();
        (0..size).for_each(|n| tree.push(leaf(n)));
        tree.root()
    }

    fn prove(outline: Outline, size: u64) -> Vec<Hash> {
        let mut prover = Prover::new(outline);
        (0..size).for_each(|n| prover.push(leaf(n)));
        prover.finish()
    }

    /// The definition, word by word.
    fn root_by_definition(leaves: Range<u64>) -> Hash {
        match leaves.end - leaves.start {
            0 => Hash::of_nothing(),
            1 => leaf(leaves.start),
            size => {
                let middle = leaves.start + left_size(size);
                Hash::of_node(root_by_definition(leaves.start..middle), root_by_definition(middle..leaves.end))
            }
        }
    }

    const SIZES: Range<u64> = 1..40;

    #[test]
    fn a_frontier_has_the_root_of_the_definition() {
        assert_eq!(root(0), Hash::of_nothing());
        for size in SIZES {
            assert_eq!(root(size), root_by_definition(0..size), "{size}");
        }
    }

    #[test]
    fn every_leaf_is_proven_and_no_other() {
        for size in SIZES {
            for index in 0..size {
                let path = prove(Outline::of_inclusion(index, size), size);
                assert!(is_included(leaf(index), index, size, &path, root(size)), "{index} of {size}");
                assert!(!is_included(leaf(index + 1), index, size, &path, root(size)));
                assert!(!is_included(leaf(index), index, size, &path, root(size + 1)));
                assert!(!is_included(leaf(index), (index + 1) % size, size, &path, root(size)) || size == 1);
                assert!(!is_included(leaf(index), size, size, &path, root(size)));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!is_included(leaf(index), index, size, shorter, root(size)));
                }
                assert!(!is_included(leaf(index), index, size, &[&path[..], &[leaf(7)]].concat(), root(size)));
            }
        }
    }

    #[test]
    fn every_earlier_tree_is_proven_and_no_other() {
        for later in SIZES {
            for earlier in 0..=later {
                let path = prove(Outline::of_consistency(earlier, later), later);
                assert!(is_consistent((earlier, root(earlier)), (later, root(later)), &path), "{earlier} of {later}");
                assert!(!is_consistent((earlier, leaf(9)), (later, root(later)), &path));
                if earlier > 0 {
                    assert!(!is_consistent((earlier, root(earlier)), (later, root(later + 1)), &path));
                    assert!(!is_consistent((later + 1, root(later + 1)), (later, root(later)), &path));
                }
                if earlier > 0 && earlier < later {
                    assert!(!is_consistent((earlier, root(earlier)), (later, root(later)), &path[1..]));
                    assert!(!is_consistent((earlier, root(earlier)), (later, root(later)), &[&path[..], &[leaf(7)]].concat()));
                    for at in 0..path.len() {
                        let mut wrong = path.clone();
                        wrong[at] = leaf(1_000);
                        assert!(!is_consistent((earlier, root(earlier)), (later, root(later)), &wrong));
                    }
                }
            }
        }
    }
}
