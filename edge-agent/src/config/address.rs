//! Addresses of brokers: scheme, host, port.

use std::fmt;

/// Where a broker is, and whether it is reached through TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `mqtts://`.
    pub is_tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// From 1.
    pub port: u16,
}

/// Why a text is no address. Reads after the key's name; a fix follows the semicolon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It begins with another scheme, or none.
    #[error("does not begin with mqtt:// or mqtts://; write it like {EXAMPLE}")]
    Scheme,
    /// Between the scheme and the port stands nothing, or what can be no host.
    #[error("names no host; write it like {EXAMPLE}")]
    Host,
    /// What follows the host is no port.
    #[error("has no valid port; give a number from 1 to 65535 after the host, or none")]
    Port,
    /// It tells a user or a password, which would land in logs.
    #[error("has a user or password in it; give them by `username` and `password_file`")]
    User,
    /// A broker has no paths.
    #[error("has a path, which a broker has not; end it after the port")]
    Path,
}

const EXAMPLE: &str = "mqtt://localhost:1883";

impl Address {
    /// `mqtt://host[:port]` or `mqtts://…`.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(AddressError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(AddressError::User);
        }
        if authority.contains('/') {
            return Err(AddressError::Path);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(AddressError::Host)?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_bracketed = authority.starts_with('[');
        let is_host = |character: char| {
            character.is_ascii_alphanumeric()
                || "-._~".contains(character)
                || (is_bracketed && ":%".contains(character))
        };
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(AddressError::Host);
        }
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or(AddressError::Port)?,
            None if port.is_empty() && is_tls => 8883,
            None if port.is_empty() => 1883,
            None => return Err(AddressError::Port),
        };
        Ok(Address { is_tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_scheme_host_and_port() {
        let shown = |text| Address::parse(text).map(|address| address.to_string());
        assert_eq!(shown("mqtt://localhost"), Ok("mqtt://localhost:1883".to_owned()));
        assert_eq!(shown("MQTTS://broker.example.org/"), Ok("mqtts://broker.example.org:8883".to_owned()));
        assert_eq!(shown("mqtt://[::1]:99"), Ok("mqtt://[::1]:99".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_told_apart() {
        assert_eq!(Address::parse("http://x"), Err(AddressError::Scheme));
        assert_eq!(Address::parse("localhost:1883"), Err(AddressError::Scheme));
        assert_eq!(Address::parse("mqtt://"), Err(AddressError::Host));
        assert_eq!(Address::parse("mqtt://a b"), Err(AddressError::Host));
        assert_eq!(Address::parse("mqtt://[::1"), Err(AddressError::Host));
        assert_eq!(Address::parse("mqtt://h:0"), Err(AddressError::Port));
        assert_eq!(Address::parse("mqtt://h:x"), Err(AddressError::Port));
        assert_eq!(Address::parse("mqtt://user:secret@h"), Err(AddressError::User));
        assert_eq!(Address::parse("mqtt://h/topic"), Err(AddressError::Path));
    }
}
