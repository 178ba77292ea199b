//! What can be wrong with a token.

use crate::claims::TOKEN_BYTES_MAX;

/// Why a token is refused or can't be made. The messages may be shown to the token's holder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JWT, or its claims are not of the kind that they should be.
    #[error("the token is damaged, or is not a token of Lockgate")]
    Malformed,
    /// Its header names another algorithm than the key's.
    #[error("the token is signed in a way that is not accepted here")]
    Algorithm,
    /// Another key signed it, or it was changed since.
    #[error("the token was not signed by the key of this gateway")]
    Signature,
    /// It is meant for another system.
    #[error("the token is not meant for Lockgate")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not begun.
    #[error("the token is not valid yet; its claim \"nbf\" says from when on it is")]
    NotYet,
    /// Its header names extensions that must be understood, and none is.
    #[error("the token needs extensions (\"crit\") that this gateway does not know")]
    Critical,
    /// A claim is missing or has no meaning.
    #[error("the claim {claim:?} of the token is missing or not valid")]
    Claim {
        /// The claim's name.
        claim: &'static str,
    },
    /// The system gave no random bytes for the token's id.
    #[error("the system has no random numbers")]
    Random,
}
