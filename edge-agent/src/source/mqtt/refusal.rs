//! Says in words, for the log and health, why there is no connection to a broker, or no longer.

use std::io;

use lockgate_runtime::words::chain;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError, mqttbytes};

use super::CONNECT_SECONDS_MAX;
use crate::config::MqttConfig;

/// Why the library has given up a connection; `let_in`: the broker had accepted us before.
pub(super) fn of_connection(error: &ConnectionError, config: &MqttConfig, let_in: bool) -> String {
    let url = &config.url;
    match error {
        ConnectionError::ConnectionRefused(code) => of_code(*code, config),
        ConnectionError::Tls(error) => of_tls(error, config),
        error if let_in => match (error, io_of(error)) {
            (_, Some(error)) => format!("{url}: the connection is lost: {error}"),
            (ConnectionError::MqttState(StateError::ConnectionAborted), _) => {
                format!("the broker {url} has closed the connection")
            }
            (error, None) => format!("{url}: the connection is lost: {}", chain(error)),
        },
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            format!("{url}: no broker has answered within {CONNECT_SECONDS_MAX} s")
        }
        error => match io_of(error) {
            Some(error) if is_end(error) => closes(config),
            // How the library tells of an end in the middle of a packet.
            Some(error) if error.kind() == io::ErrorKind::Other => no_broker(config),
            Some(error) => format!("{url}: cannot connect: {error}"),
            None if matches!(error, ConnectionError::MqttState(StateError::ConnectionAborted)) => closes(config),
            None => no_broker(config),
        },
    }
}

/// The system's error, wherever the library has put it.
fn io_of(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

fn closes(config: &MqttConfig) -> String {
    format!("what answers at {} closes the connection without a word of MQTT; is it a broker?", config.url)
}

fn no_broker(config: &MqttConfig) -> String {
    let url = &config.url;
    // To whom it speaks no TLS, a broker that wants it answers with what is no MQTT either.
    let tls = if url.is_tls { "" } else { ", or write mqtts:// for a broker that wants TLS" };
    format!("what answers at {url} is no MQTT broker; correct `url`{tls}")
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

fn of_code(code: ConnectReturnCode, config: &MqttConfig) -> String {
    let url = &config.url;
    let who = match &config.username {
        Some(user) => format!("user {user:?}; correct `username` and `password_file`"),
        None => "an agent that tells no user; add `username` and `password_file`".to_owned(),
    };
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            format!("the broker {url} does not let in {who}")
        }
        ConnectReturnCode::BadClientId => {
            format!(
                "the broker {url} does not take the client id {:?}; choose another with `client_id`",
                config.client_id
            )
        }
        ConnectReturnCode::RefusedProtocolVersion => format!("the broker {url} does not speak MQTT 3.1.1"),
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
            format!("the broker {url} says that it is not available now")
        }
    }
}

fn of_tls(error: &TlsError, config: &MqttConfig) -> String {
    let url = &config.url;
    let inner = match error {
        TlsError::TLS(error) => Some(error),
        TlsError::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    match (inner, error) {
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            format!("what answers at {url} speaks no TLS; is it the right port, or is mqtt:// meant?")
        }
        (None, TlsError::Io(error)) if is_end(error) => {
            format!("what answers at {url} closes the connection without a word of TLS; is it the right port?")
        }
        // The library connects and agrees on TLS in one.
        (None, TlsError::Io(error)) => format!("{url}: cannot connect: {error}"),
        (Some(error), _) => format!("{url}: cannot agree on TLS: {error}"),
        (None, error) => format!("{url}: cannot agree on TLS: {}", chain(error)),
    }
}
