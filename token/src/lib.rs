//! Tokens: who someone is and what they may do.
//!
//! A token is a JWT (RFC 7519) signed by the gateways' key. [`SigningKey::mint`] makes one,
//! [`SigningKey::verify`] turns one into a [`Grant`], and [`Grant::allows`] is the one place that
//! decides what may be done with it. The algorithm is the key's own; what a token's header says about
//! it is only compared. A token without an end is refused, and at its end there is no leeway: both
//! clocks that matter (minting, checking) are the gateways'. The only crate that names `jsonwebtoken`.
//!
//! Without the feature `keys` there is neither a key nor that library: a holder of a token can still
//! [read](read_unproven) what it says.

mod claims;
mod error;
mod grant;
#[cfg(feature = "keys")]
mod hex;
#[cfg(feature = "keys")]
mod key;
#[cfg(feature = "keys")]
mod key_file;
mod scope;

#[cfg(feature = "keys")]
#[cfg(test)]
mod tests;

pub use claims::{SCOPES_MAX, TOKEN_BYTES_MAX, read_unproven};
pub use error::TokenError;
pub use grant::{Action, Grant, Identity};
#[cfg(feature = "keys")]
pub use key::{NewToken, SigningKey};
#[cfg(feature = "keys")]
pub use key_file::KeyError;
pub use scope::{Pattern, Right, Scope, ScopeError};
