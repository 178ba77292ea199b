//! What can go wrong between a client and a gateway, and what to do next.

use std::fmt;
use std::time::Duration;

use lockgate_proto::command::CommandId;
use lockgate_proto::convert::ConvertError;
use lockgate_proto::ids::NameError;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::wire;
use lockgate_runtime::dial::DialError;
use lockgate_runtime::link::{Closed, LinkError};
use lockgate_runtime::tls::TlsError;

use crate::token_source::TokenError;

/// The kinds of a gateway's refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// There is no valid token.
    Unauthenticated,
    /// The token does not allow this.
    Forbidden,
    /// The request makes no sense.
    Invalid,
    /// What is asked for does not exist.
    NotFound,
    /// Too much or too often.
    Limited,
    /// Not now: the gateway's store can't be reached.
    Unavailable,
    /// A kind that this version does not know.
    Unknown,
}

impl ErrorCode {
    pub(crate) fn from_wire(code: i32) -> ErrorCode {
        match wire::ErrorCode::try_from(code) {
            Ok(wire::ErrorCode::Unauthenticated) => ErrorCode::Unauthenticated,
            Ok(wire::ErrorCode::Forbidden) => ErrorCode::Forbidden,
            Ok(wire::ErrorCode::Invalid) => ErrorCode::Invalid,
            Ok(wire::ErrorCode::NotFound) => ErrorCode::NotFound,
            Ok(wire::ErrorCode::Limited) => ErrorCode::Limited,
            Ok(wire::ErrorCode::Unavailable) => ErrorCode::Unavailable,
            Ok(wire::ErrorCode::Unspecified) | Err(_) => ErrorCode::Unknown,
        }
    }
}

/// A gateway's typed error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The field of the request that is at fault, as a path; empty: none.
    pub field: String,
    /// When asking again may help; `None`: without change it does not.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke.
    #[error("the connection is lost: {0}")]
    Link(#[from] LinkError),
    /// The gateway closed the connection.
    #[error("the gateway {0}")]
    Closed(Closed),
    /// The gateway refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// What came is no message of the protocol.
    #[error("the gateway sent what can't be understood: {0}")]
    Decode(#[from] prost::DecodeError),
    /// What came contradicts itself, or lacks what must be there.
    #[error("the gateway sent what can't be understood: {0}")]
    Convert(#[from] ConvertError),
    /// A name that came is none.
    #[error("the gateway sent a name that {0}")]
    Name(#[from] NameError),
    /// An answer of another kind than the question.
    #[error("the gateway sent an answer to another question")]
    WrongAnswer,
    /// No answer within the time that any answer takes.
    #[error("the gateway did not answer within {after:?}")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// A command's deadline has passed, and no gateway could be asked what became of it.
    #[error(
        "the deadline of command {id} has passed, and no gateway has said what became of it{}; \
         `lockgate commands` tells once one can be reached", if *answered { "" } else { ", nor that it was taken" }
    )]
    NotTold {
        /// Which.
        id: CommandId,
        /// Whether a gateway had taken it.
        answered: bool,
    },
    /// Entries do not follow the position reached: they must be asked for again.
    #[error("the entries that came do not follow those before")]
    DoesNotFollow,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Connect again, after the usual delay.
    Retry,
    /// Connect again, not before this.
    RetryAfter(Duration),
    /// Another token may help; the same one does not.
    NewToken,
    /// It will not get better by itself.
    GiveUp,
}

impl ClientError {
    pub(crate) fn disposition(&self) -> Disposition {
        match self {
            ClientError::Dial(error) if error.is_unauthorized() => Disposition::NewToken,
            ClientError::Dial(error) => error.retry_after().map_or(Disposition::Retry, Disposition::RetryAfter),
            ClientError::Closed(closed) => match closed.code() {
                Some(CloseCode::Unauthorized) => Disposition::NewToken,
                Some(code) if !code.may_resume() => Disposition::GiveUp,
                Some(_) | None => Disposition::Retry,
            },
            ClientError::Refused(refusal) => match (refusal.code, refusal.retry_after) {
                (ErrorCode::Unauthenticated, _) => Disposition::NewToken,
                (ErrorCode::Limited | ErrorCode::Unavailable | ErrorCode::Unknown, Some(after)) => {
                    Disposition::RetryAfter(after)
                }
                (ErrorCode::Unavailable, None) => Disposition::Retry,
                (
                    ErrorCode::Forbidden
                    | ErrorCode::Invalid
                    | ErrorCode::NotFound
                    | ErrorCode::Limited
                    | ErrorCode::Unknown,
                    _,
                ) => Disposition::GiveUp,
            },
            ClientError::Tls(_) | ClientError::Token(_) | ClientError::NotTold { .. } => Disposition::GiveUp,
            ClientError::Link(_)
            | ClientError::Decode(_)
            | ClientError::Convert(_)
            | ClientError::Name(_)
            | ClientError::WrongAnswer
            | ClientError::Timeout { .. }
            | ClientError::DoesNotFollow => Disposition::Retry,
        }
    }

    /// Whether the token is missing, bad or expired, or does not allow what was asked for.
    pub fn is_unauthorized(&self) -> bool {
        match self {
            ClientError::Token(_) => true,
            ClientError::Refused(refusal) => {
                matches!(refusal.code, ErrorCode::Unauthenticated | ErrorCode::Forbidden)
            }
            _ => self.disposition() == Disposition::NewToken,
        }
    }

    /// Whether there is no connection, or none any more.
    pub fn is_disconnected(&self) -> bool {
        match self {
            ClientError::Dial(_)
            | ClientError::Link(_)
            | ClientError::Closed(_)
            | ClientError::Timeout { .. }
            | ClientError::Tls(_) => !self.is_unauthorized(),
            ClientError::Token(_)
            | ClientError::Refused(_)
            | ClientError::Decode(_)
            | ClientError::Convert(_)
            | ClientError::Name(_)
            | ClientError::WrongAnswer
            | ClientError::NotTold { .. }
            | ClientError::DoesNotFollow => false,
        }
    }
}
