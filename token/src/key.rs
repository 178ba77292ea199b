//! The gateways' key: makes tokens and checks them.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use lockgate_proto::ids::Tenant;
use lockgate_proto::time::UnixMicros;
use ring::rand::{SecureRandom, SystemRandom};

use crate::claims::{AUDIENCE, Claims, SCOPES_MAX, TOKEN_BYTES_MAX};
use crate::error::TokenError;
use crate::grant::{Grant, Identity};
use crate::hex;
use crate::key_file::{self, KEY_BYTES, KeyError};

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The owner.
    pub tenant: Tenant,
    /// Whom it is for.
    pub identity: Identity,
    /// How long it is good. Counted in whole seconds.
    pub ttl: Duration,
}

/// A secret of 32 bytes, used by HMAC-SHA-256 (`HS256`). Whoever has it can make any token.
pub struct SigningKey {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
}

impl SigningKey {
    /// The key of a file; where there is none, a new random one, which only this user may read.
    pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
        key_file::load_or_create(path).map(|bytes| SigningKey::from_bytes(&bytes))
    }

    /// The key of a file, which must be there.
    pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
        key_file::load(path).map(|bytes| SigningKey::from_bytes(&bytes))
    }

    /// A key of given bytes, which must be random.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> SigningKey {
        let mut validation = Validation::new(Algorithm::HS256);
        // The time is compared by `verify`, whose caller has the clock.
        validation.validate_exp = false;
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        SigningKey { signing: EncodingKey::from_secret(bytes), checking: DecodingKey::from_secret(bytes), validation }
    }

    /// Makes a token, good from now on.
    pub fn mint(&self, token: &NewToken, now: UnixMicros) -> Result<String, TokenError> {
        if let Identity::User { scopes, .. } = &token.identity
            && scopes.len() > SCOPES_MAX
        {
            return Err(TokenError::Claim { claim: "scope" });
        }
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| TokenError::Random)?;
        let ttl_micros = i64::try_from(token.ttl.as_micros()).unwrap_or(i64::MAX);
        let grant = Grant {
            tenant: token.tenant.clone(),
            identity: token.identity.clone(),
            id: hex::encode(&id),
            issued_at: now,
            expires_at: now.offset_by(ttl_micros),
        };
        // What could not be read again is not given out.
        let claims = Claims::of(&grant);
        Claims::of(&grant).check()?;
        let minted = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .map_err(|_| TokenError::Malformed)?;
        if minted.len() > TOKEN_BYTES_MAX { Err(TokenError::TooLong) } else { Ok(minted) }
    }

    /// Checks a token, whoever sent it. Claims are not even read before the signature is proven.
    pub fn verify(&self, token: &str, now: UnixMicros) -> Result<Grant, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation)
            .map_err(|error| refusal(error.kind()))?;
        if decoded.header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        if decoded.claims.not_before().is_some_and(|begin| now < begin) {
            return Err(TokenError::NotYet);
        }
        let grant = decoded.claims.check()?;
        if grant.is_expired(now) { Err(TokenError::Expired) } else { Ok(grant) }
    }
}

fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::InvalidAlgorithmName => {
            TokenError::Algorithm
        }
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => TokenError::Claim { claim: "exp" },
            "aud" => TokenError::Audience,
            _ => TokenError::Claim { claim: "sub" },
        },
        // The kinds are an open list; what is not told apart is no token that we can use.
        _ => TokenError::Malformed,
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(HS256, secret not shown)")
    }
}
