//! What auditors ask: the event log itself.

use async_graphql::connection::PageInfo;
use async_graphql::{Context, Error, ID, InputObject, Object, Result, SimpleObject};

use super::cursors::Cursor as _;
use super::errors::{TopLevel as _, bad_input};
use super::session::Session;
use super::types::DateTime;
use crate::app::AppError;
use crate::app::events::{EventPage, Selection, StoredEvent};
use crate::domain::event::{Position, UnknownStream};
use crate::domain::ids::UserId;

/// Which events of the log are wanted; what is left out does not matter.
#[derive(Default, InputObject)]
pub(super) struct EventFilter {
    /// A stream's name, such as `community`, `section`, `user-alice` or `conversation-…`.
    stream: Option<String>,
    /// Names of event types.
    types: Option<Vec<String>>,
    /// A user whom the events concern.
    user: Option<ID>,
    /// The first position.
    from_position: Option<String>,
    /// The last position.
    to_position: Option<String>,
    /// The earliest instant.
    since: Option<DateTime>,
    /// The instant before which they were appended.
    until: Option<DateTime>,
}

impl EventFilter {
    pub(super) fn selection(self) -> Result<Selection, Error> {
        let position = |name: &str, given: Option<String>| {
            let parse = |text: String| text.parse().map(Position).map_err(|_| bad_input(format!("`{name}` is not a position")));
            given.map(parse).transpose()
        };
        Ok(Selection {
            stream: self
                .stream
                .map(|name| name.parse().map_err(|_: UnknownStream| bad_input("`stream` is no stream's name: community, section, user-… or conversation-…")))
                .transpose()?,
            types: self.types.unwrap_or_default(),
            user: self.user.map(|id| UserId::parse(&id).map_err(|_| bad_input("`user` is not a user id"))).transpose()?,
            positions: (position("fromPosition", self.from_position)?, position("toPosition", self.to_position)?),
            times: (self.since.map(|since| since.0), self.until.map(|until| until.0)),
        })
    }
}

/// An event as the log has it.
pub(super) struct LoggedEvent(pub StoredEvent);

/// An event as the log has it.
#[Object]
impl LoggedEvent {
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Its place in the log, in decimal digits. On KurrentDB, positions have gaps.
    async fn position(&self) -> String {
        self.0.position.to_string()
    }

    /// The stream's name.
    async fn stream(&self) -> &str {
        &self.0.stream
    }

    /// Its place in its stream, from 1, in decimal digits.
    async fn version(&self) -> String {
        self.0.version.to_string()
    }

    /// The stored name of its type.
    async fn r#type(&self) -> &str {
        &self.0.kind
    }

    /// When it was appended.
    async fn at(&self) -> DateTime {
        DateTime(self.0.at)
    }

    /// Who acted; null where the service did.
    async fn actor(&self) -> Option<ID> {
        self.0.actor.as_deref().map(ID::from)
    }

    /// The request that everything it led to has in common.
    async fn correlation_id(&self) -> ID {
        self.0.correlation.into()
    }

    /// The command that led to the event.
    async fn causation_id(&self) -> ID {
        self.0.causation.into()
    }

    /// What happened, as JSON. What people wrote is in clear, or null where its author was erased.
    async fn data(&self, context: &Context<'_>) -> Result<String> {
        let session = Session::of(context);
        let revealed = session.app.log().reveal(std::slice::from_ref(&self.0)).await.map_err(AppError::from);
        Ok(revealed.top_level(session)?.concat())
    }

    /// The same just as it is stored: what people wrote is sealed.
    async fn stored(&self) -> &str {
        &self.0.data
    }

    /// To go on after.
    async fn cursor(&self) -> String {
        self.0.position.encode()
    }
}

/// A part of the event log, in its order.
#[derive(SimpleObject)]
pub(super) struct LoggedEventConnection {
    edges: Vec<LoggedEventEdge>,
    page_info: PageInfo,
}

/// An event at its place in the log.
#[derive(SimpleObject)]
pub(super) struct LoggedEventEdge {
    cursor: String,
    node: LoggedEvent,
}

impl From<EventPage> for LoggedEventConnection {
    /// A page's ends are where it was looked, so that a search that found little can go on.
    fn from(page: EventPage) -> Self {
        let cursor = |position: Option<Position>| position.map(|position| position.encode());
        let page_info =
            PageInfo { has_previous_page: page.has_previous, has_next_page: page.has_next, start_cursor: cursor(page.start), end_cursor: cursor(page.end) };
        let edge = |event: StoredEvent| LoggedEventEdge { cursor: event.position.encode(), node: LoggedEvent(event) };
        Self { edges: page.events.into_iter().map(edge).collect(), page_info }
    }
}
