//! Addresses to listen on, as people write them.

use std::net::{IpAddr, SocketAddr};

/// Why a text is no address to listen on. Reads after the key's name; a fix follows the semicolon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddressError {
    /// A number alone, or behind a colon.
    #[error(
        "is a port without an address; write 127.0.0.1:{port} to be reached from this machine alone, or \
         0.0.0.0:{port} from others too"
    )]
    PortAlone {
        /// The port.
        port: u16,
    },
    /// An address without a port.
    #[error("has no port; write {}, or port 0 for any free one", SocketAddr::new(*.address, 8080))]
    NoPort {
        /// The address.
        address: IpAddr,
    },
    /// A name, which may have several addresses.
    #[error("has a name where its address must stand; write it in numbers, like 127.0.0.1:{port}")]
    Name {
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("is no address to listen on; write it like 127.0.0.1:8080 or [::1]:8080, port 0: any free one")]
    Other,
}

/// Reads `127.0.0.1:8080`, `[::1]:8080`.
pub fn listen_address(text: &str) -> Result<SocketAddr, ListenAddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Err(ListenAddressError::PortAlone { port });
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Err(ListenAddressError::NoPort { address });
    }
    let is_name = |host: &str| {
        let in_names = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
        host.starts_with(|first: char| first.is_ascii_alphabetic()) && host.chars().all(in_names)
    };
    match text.split_once(':').map(|(host, port)| (is_name(host), port.parse())) {
        Some((true, Ok(port))) => Err(ListenAddressError::Name { port }),
        _ => Err(ListenAddressError::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_told_with_the_one_that_was_meant() {
        let told = |text| listen_address(text).unwrap_err().to_string();
        for text in ["8090", ":8090"] {
            assert!(told(text).contains("write 127.0.0.1:8090 "), "{}", told(text));
        }
        assert!(told("localhost:8090").contains("127.0.0.1:8090"));
        assert!(told("127.0.0.1").contains("write 127.0.0.1:8080,"));
        assert!(told("::1").contains("write [::1]:8080,"));
        for text in ["", "localhost", "127.0.0.1:", "127.0.0.1:99999", "99999", "a b:1"] {
            assert_eq!(listen_address(text), Err(ListenAddressError::Other), "{text}");
        }
        assert_eq!(listen_address("[::1]:0").map(|address| address.port()), Ok(0));
    }
}
