//! What people read when something is refused or fails, in their language. Programs read the codes.

use crate::app::AppError;
use crate::app::access::Forbidden;
use crate::domain::text::TextRefusal;
use crate::domain::{InvalidInput, Refusal};

/// A language that the service speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    French,
}

impl Language {
    /// By the primary subtag of a language range, such as `fr-CH`.
    #[must_use]
    pub fn of_range(range: &str) -> Option<Self> {
        let primary = range.split('-').next().unwrap_or_default().trim();
        match primary.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "fr" => Some(Self::French),
            _ => None,
        }
    }

    /// A service that cannot do something now.
    #[must_use]
    pub fn unavailable(self) -> &'static str {
        match self {
            Self::English => "the service cannot do this now: please try again",
            Self::French => "le service ne peut pas le faire maintenant : veuillez réessayer",
        }
    }

    /// U5, where there is room for 123 bytes.
    #[must_use]
    pub fn plan_is_full(self) -> &'static str {
        match self {
            Self::English => "Forbidden: the community has reached the limit of its plan: please contact support",
            Self::French => "Refusé : la communauté a atteint la limite de son offre : veuillez contacter l'assistance",
        }
    }

    /// A fault of the service.
    #[must_use]
    pub fn internal(self) -> &'static str {
        match self {
            Self::English => "something went wrong in the service",
            Self::French => "une erreur est survenue dans le service",
        }
    }

    /// An operation that took too long.
    pub(super) fn too_slow(self) -> &'static str {
        match self {
            Self::English => "the operation took too long: please try again",
            Self::French => "l'opération a pris trop de temps : veuillez réessayer",
        }
    }

    /// An operation for which there is no room.
    pub(super) fn busy(self) -> &'static str {
        match self {
            Self::English => "the service has too much to do: please try again in a moment",
            Self::French => "le service est trop sollicité : veuillez réessayer dans un instant",
        }
    }

    pub(super) fn forbidden(self, forbidden: Forbidden) -> String {
        match self {
            Self::English => forbidden.to_string(),
            Self::French => format!("il faut pour cela le rôle {}", forbidden.0),
        }
    }

    /// What a use case could not do, as far as the person may know.
    #[must_use]
    pub fn app_error(self, error: &AppError) -> String {
        match error {
            AppError::Refused(refusal) => self.refusal(*refusal),
            AppError::RateLimited { retry_after_seconds: seconds } => match self {
                Self::English => format!("too many messages: try again in {seconds} s"),
                Self::French => format!("trop de messages : réessayez dans {seconds} s"),
            },
            AppError::Unavailable(_) => self.unavailable().to_owned(),
        }
    }

    /// Why the product refuses a command.
    #[must_use]
    pub fn refusal(self, refusal: Refusal) -> String {
        match self {
            Self::English => refusal.to_string(),
            Self::French => in_french(refusal).to_owned(),
        }
    }
}

fn in_french(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Text(TextRefusal::HasControlCharacter) => "le message contient un caractère de contrôle",
        Refusal::Text(TextRefusal::Empty) => "le message est vide",
        Refusal::Text(TextRefusal::TooLong) => "le message dépasse 2 000 caractères",
        Refusal::Text(TextRefusal::HasUrl) => "le message contient une adresse web",
        Refusal::Text(TextRefusal::HasEmoji) => "le message contient un émoji",
        Refusal::Oneself => "c'est vous",
        Refusal::UserNotFound => "cet utilisateur n'existe pas",
        Refusal::MessageIdReused => "cet identifiant de message a déjà servi à autre chose",
        Refusal::ContactBlocked => "vous avez bloqué cet utilisateur : débloquez-le d'abord",
        Refusal::NotContactable => "cet utilisateur ne souhaite pas être contacté",
        Refusal::ConversationNotFound => "cette conversation n'est pas dans votre liste",
        Refusal::ConversationDeleted => "cette conversation a été supprimée pendant que l'utilisateur était bloqué : rouvrez-la pour le débloquer",
        Refusal::MessageNotFound => "ce message n'est pas dans cette conversation",
        Refusal::UserLimitReached => "la communauté a atteint la limite de son offre : veuillez contacter l'assistance",
        Refusal::InvalidInput(InvalidInput::UserId) => "un identifiant d'utilisateur a de 1 à 128 caractères parmi A-Z a-z 0-9 . _ : @ | -",
        Refusal::InvalidInput(InvalidInput::MessageId) => "un identifiant de message est un UUID comme 0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f",
        Refusal::InvalidInput(InvalidInput::Name) => "un nom a de 1 à 100 caractères, dont un visible, et aucun qui commande l'affichage",
        Refusal::InvalidInput(InvalidInput::NameOfErased) => "dites d'abord comment vous vous appelez",
        Refusal::InvalidInput(InvalidInput::Picture) => "une image est une URL http ou https d'au plus 2 048 octets",
        Refusal::InvalidInput(InvalidInput::Title) => "un titre a de 1 à 60 caractères, dont un visible, et aucun qui commande l'affichage",
        Refusal::InvalidInput(InvalidInput::ListTemplate) => "un modèle de liste est 1, 2 ou 3",
        Refusal::InvalidInput(InvalidInput::DetailTemplate) => "un modèle de détail est 1, 2 ou 3",
    }
}
