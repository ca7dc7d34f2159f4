//! What a read or a subscription asks for, and the records that it means.

use regex::Regex;
use tonic::Status;

use crate::protocol::streams::read_req;
use crate::store::{Log, Record};

/// From where.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Start,
    End,
    /// A revision, or a position.
    At(u64),
}

/// What a read or a subscription asks for.
pub(crate) struct Wanted {
    /// None: all streams.
    pub(crate) stream: Option<Vec<u8>>,
    pub(crate) place: Place,
    backwards: bool,
    filter: Option<Filter>,
}

struct Filter {
    on_stream: bool,
    regex: Option<Regex>,
    prefixes: Vec<String>,
}

impl Wanted {
    pub(crate) fn of(options: &read_req::Options) -> Result<Self, Status> {
        use read_req::options::all_options::AllOption;
        use read_req::options::filter_options::Filter as On;
        use read_req::options::stream_options::RevisionOption;
        use read_req::options::{FilterOption, StreamOption};
        let (stream, place) = match options.stream_option.as_ref() {
            Some(StreamOption::Stream(stream)) => {
                let place = match stream.revision_option {
                    Some(RevisionOption::Revision(revision)) => Place::At(revision),
                    Some(RevisionOption::End(_)) => Place::End,
                    _ => Place::Start,
                };
                (stream.stream_identifier.as_ref().map(|identifier| identifier.stream_name.clone()), place)
            }
            Some(StreamOption::All(all)) => {
                let place = match &all.all_option {
                    Some(AllOption::Position(position)) => Place::At(position.commit_position),
                    Some(AllOption::End(_)) => Place::End,
                    _ => Place::Start,
                };
                (None, place)
            }
            None => return Err(Status::invalid_argument("no stream")),
        };
        let filter = match &options.filter_option {
            Some(FilterOption::Filter(filter)) => {
                let (on_stream, expression) = match filter.filter.as_ref() {
                    Some(On::StreamIdentifier(expression)) => (true, expression),
                    Some(On::EventType(expression)) => (false, expression),
                    None => return Err(Status::invalid_argument("an empty filter")),
                };
                // A regex makes the server forget the prefixes.
                let regex =
                    if expression.regex.is_empty() { None } else { Some(Regex::new(&expression.regex).map_err(|_| Status::invalid_argument("no regex"))?) };
                Some(Filter { on_stream, regex, prefixes: expression.prefix.clone() })
            }
            _ => None,
        };
        Ok(Self { stream, place, backwards: options.read_direction == 1, filter })
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        let Some(filter) = &self.filter else { return true };
        let name = if filter.on_stream {
            String::from_utf8_lossy(&record.stream).into_owned()
        } else {
            record.event.metadata.get("type").cloned().unwrap_or_default()
        };
        filter.regex.as_ref().map_or_else(|| filter.prefixes.iter().any(|prefix| name.starts_with(prefix)), |regex| regex.is_match(&name))
    }

    /// The record at exactly a position: no other can be read from. Reads and subscriptions are refused differently.
    pub(crate) fn exact(log: &Log, position: u64, or_else: impl FnOnce() -> Status) -> Result<usize, Status> {
        log.readable().binary_search_by_key(&position, |record| record.position).map_err(|_| or_else())
    }

    /// Places of records in order; none where there is no such stream.
    pub(crate) fn read(&self, log: &Log) -> Result<Option<Vec<usize>>, Status> {
        let found: Vec<usize> = match &self.stream {
            Some(name) => {
                let known = log.readable_of(name);
                if known.is_empty() {
                    return Ok(None);
                }
                let from = match self.place {
                    Place::Start => 0,
                    Place::End => known.len(),
                    Place::At(revision) => usize::try_from(revision).unwrap_or(usize::MAX).min(known.len()),
                };
                if self.backwards { known[..from].iter().rev().copied().collect() } else { known[from..].to_vec() }
            }
            None => {
                let from = match self.place {
                    Place::Start => 0,
                    Place::End => log.readable().len(),
                    Place::At(position) => Self::exact(log, position, || Status::unknown("Unexpected ReadAllResult: InvalidPosition"))?,
                };
                if self.backwards { (0..from).rev().collect() } else { (from..log.readable().len()).collect() }
            }
        };
        Ok(Some(found.into_iter().filter(|&at| self.matches(&log.records[at])).collect()))
    }
}
