//! Arguments about one person.

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::{Data, Keys, Views, user};
use crate::domain::ids::UserId;

#[derive(Args, Debug)]
pub(in crate::cli) struct Token {
    /// The user's id: the token's `sub`.
    #[arg(value_name = "USER", value_parser = user)]
    pub user: UserId,
    /// The user's name.
    #[arg(long, env = "ENTRENOUS_TOKEN_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// What the user may do beside chatting; can be given twice, or several with commas.
    #[arg(long, env = "ENTRENOUS_TOKEN_ROLE", value_delimiter = ',', value_name = "ROLE")]
    pub role: Vec<Role>,
    /// How long the token lasts, such as 30s, 15m, 1h or 24h.
    #[arg(long, env = "ENTRENOUS_TOKEN_TTL", default_value = "1h", value_name = "DURATION")]
    pub ttl: SignedDuration,
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub keys: Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Role {
    Admin,
    Auditor,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
}

/// Who is erased.
#[derive(Args, Debug)]
pub(in crate::cli) struct Erase {
    /// The user's id.
    #[arg(value_name = "USER", value_parser = user)]
    pub user: UserId,
    #[command(flatten)]
    pub views: Views,
}

/// Whose data is wanted.
#[derive(Args, Debug)]
pub(in crate::cli) struct ExportUser {
    /// The user's id.
    #[arg(value_name = "USER", value_parser = user)]
    pub user: UserId,
    #[command(flatten)]
    pub data: Data,
}
