//! What was appended: records in their order, and by stream.

use std::collections::HashMap;

/// All of them.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    /// The places of each stream's records.
    pub(crate) streams: HashMap<Vec<u8>, Vec<usize>>,
    end: u64,
    /// How many records can be read: those that were flushed and indexed.
    readable: usize,
}

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) stream: Vec<u8>,
    pub(crate) revision: u64,
    pub(crate) position: u64,
    pub(crate) event: Event,
}

/// An event as it was sent.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) custom_metadata: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Log {
    pub(crate) fn readable(&self) -> &[Record] {
        &self.records[..self.readable]
    }

    /// The places of the records of a stream that can be read.
    pub(crate) fn readable_of(&self, stream: &[u8]) -> &[usize] {
        let known = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        &known[..known.partition_point(|at| *at < self.readable)]
    }

    /// From now on so many records can be read, or more.
    pub(crate) fn index(&mut self, records: usize) {
        self.readable = self.readable.max(records);
    }

    /// The place of the last of the events, appended after so many of their stream, or found there by their ids. How many the stream has
    /// where those are others.
    pub(crate) fn append(&mut self, stream: &[u8], expected: usize, events: Vec<Event>) -> Result<Option<usize>, usize> {
        let known = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let there: Vec<usize> = known.iter().skip(expected).take(events.len()).copied().collect();
        if !there.is_empty() && there.iter().map(|&at| &self.records[at].event.id).eq(events.iter().map(|event| &event.id)) {
            return Ok(there.last().copied());
        }
        if known.len() != expected {
            return Err(known.len());
        }
        for (mut event, revision) in events.into_iter().zip(expected as u64..) {
            event.metadata.insert("created".to_owned(), "17000000000000000".to_owned());
            let position = self.end + 1;
            // Positions count bytes, and other records lie between.
            self.end += 64 + event.data.len() as u64 + event.custom_metadata.len() as u64;
            self.streams.entry(stream.to_vec()).or_default().push(self.records.len());
            self.records.push(Record { stream: stream.to_vec(), revision, position, event });
        }
        Ok(self.streams.get(stream).and_then(|places| places.last()).copied())
    }
}
