//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lockgate_client::{ClientOptions, GatewayUrl, TokenSource};

use super::CliError;

/// How to reach a gateway.
#[derive(Args)]
pub(super) struct GatewayArgs {
    /// Address of the gateway
    #[arg(long, env = "LOCKGATE_URL", default_value = "ws://127.0.0.1:8080", value_name = "URL", value_parser = url)]
    url: GatewayUrl,
    /// Your token
    #[arg(long, env = "LOCKGATE_TOKEN", hide_env_values = true, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// A file with your token, read anew at each connection
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates to trust beside the system's, for wss://
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl GatewayArgs {
    pub(super) fn options(self) -> Result<ClientOptions, CliError> {
        let token = match (self.token, self.token_file) {
            (_, Some(file)) => TokenSource::File(file),
            (Some(token), None) => TokenSource::Text(token),
            (None, None) => {
                let how = "give your token with --token, --token-file or LOCKGATE_TOKEN; `lockgate token user NAME` makes one";
                return Err(CliError::Usage(how.to_owned()));
            }
        };
        let client = concat!("lockgate ", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(ClientOptions { ca_file: self.ca_file, client, ..ClientOptions::new(self.url, token) })
    }
}

fn url(text: &str) -> Result<GatewayUrl, String> {
    text.parse().map_err(|error| format!("it {error}"))
}

/// "500ms", "30s", "5min", "2h", "7d".
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis_per_unit: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a number with its unit: ms, s, min, h or d, such as 30s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number with its unit, such as 30s".to_owned())?;
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(|| "it is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5min"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "5", "s", "-1s", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
