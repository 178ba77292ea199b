//! Arguments that several commands share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lockgate_client::{ClientOptions, GatewayUrl, TokenSource, Trust};

use super::CliError;

/// Looked at where neither --token nor --token-file is typed.
const TOKEN: &str = "LOCKGATE_TOKEN";
const TOKEN_FILE: &str = "LOCKGATE_TOKEN_FILE";

/// How to reach a gateway.
#[derive(Args, Clone)]
pub(super) struct GatewayArgs {
    /// Address of the gateway, without a path; it is added. May be given several times, or as a list with commas:
    /// the first that is there is taken, and when it is lost the next one
    #[arg(long = "url", visible_alias = "gateway", env = "LOCKGATE_URL", default_value = "ws://127.0.0.1:8080",
        value_name = "URL", value_delimiter = ',', value_parser = url)]
    urls: Vec<GatewayUrl>,
    // The environment is read apart: for clap its values count as typed, and would conflict with a flag.
    /// Your token [env: LOCKGATE_TOKEN]
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// A file with your token, read anew at each connection [env: LOCKGATE_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates to trust beside the system's, for wss://
    #[arg(long, env = "LOCKGATE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Trust those certificates alone, and not the system's
    #[arg(long, requires = "ca_file")]
    ca_file_alone: bool,
}

impl GatewayArgs {
    pub(super) fn options(self) -> Result<ClientOptions, CliError> {
        let token = token_source(self.token, self.token_file, |name| std::env::var_os(name))?;
        let client = concat!("lockgate ", env!("CARGO_PKG_VERSION")).to_owned();
        let mut urls = self.urls.into_iter();
        let url = urls.next().ok_or_else(|| CliError::Usage("give the address of a gateway with --url".to_owned()))?;
        let other_urls = urls.collect();
        let trust = Trust { ca_file: self.ca_file, file_alone: self.ca_file_alone, identity: None };
        Ok(ClientOptions { trust, client, other_urls, ..ClientOptions::new(url, token) })
    }
}

/// What is typed wins over the environment. An empty variable counts as none.
fn token_source(
    token: Option<String>,
    file: Option<PathBuf>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<TokenSource, CliError> {
    let usage = |text: String| Err(CliError::Usage(text));
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    match (token, file) {
        (Some(token), _) => return Ok(TokenSource::Text(token)),
        (None, Some(file)) => return Ok(TokenSource::File(file)),
        (None, None) => {}
    }
    if let Some(token) = variable(TOKEN) {
        return match token.into_string() {
            Ok(token) => Ok(TokenSource::Text(token)),
            Err(_) => usage(format!("{TOKEN} has characters that a token can't have")),
        };
    }
    if let Some(file) = variable(TOKEN_FILE) {
        return Ok(TokenSource::File(file.into()));
    }
    let makes = "`lockgate token user NAME` makes one";
    usage(format!("give your token with --token, --token-file, {TOKEN} or {TOKEN_FILE}; {makes}"))
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
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        gateway: GatewayArgs,
    }

    fn source(typed: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
        let words = ["lockgate"].iter().chain(typed);
        let matches = Typed::command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let args = Typed::from_arg_matches(&matches).unwrap().gateway;
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        match token_source(args.token, args.token_file, variable).map_err(|error| error.to_string())? {
            TokenSource::Text(token) => Ok(token),
            TokenSource::File(file) => Ok(format!("file {}", file.display())),
            TokenSource::Function(_) => unreachable!("no argument is a function"),
        }
    }

    #[test]
    fn a_token_that_is_typed_wins_over_the_environment() {
        let both = [(TOKEN, "t-env"), (TOKEN_FILE, "f-env")];
        assert_eq!(source(&["--token", "t"], &both).as_deref(), Ok("t"));
        assert_eq!(source(&["--token-file", "f"], &both).as_deref(), Ok("file f"));
        assert_eq!(source(&[], &both).as_deref(), Ok("t-env"));
        assert_eq!(source(&[], &[(TOKEN, ""), both[1]]).as_deref(), Ok("file f-env"));
        assert!(source(&["--token", "t", "--token-file", "f"], &[]).unwrap_err().contains("cannot be used with"));
        assert!(source(&[], &[]).unwrap_err().contains(TOKEN_FILE));
    }

    #[test]
    fn gateways_are_typed_one_by_one_or_as_a_list() {
        let words = ["lockgate", "--url", "ws://a,wss://b/p", "--gateway", "ws://c:1", "--token", "t"];
        let args = Typed::try_parse_from(words).unwrap().gateway;
        let options = args.options().unwrap();
        let shown: Vec<String> = options.other_urls.iter().map(ToString::to_string).collect();
        assert_eq!(
            (options.url.to_string().as_str(), shown),
            ("ws://a", vec!["wss://b/p".to_owned(), "ws://c:1".to_owned()])
        );
        assert!(Typed::try_parse_from(["lockgate", "--url", "ws://a,b"]).is_err());
    }

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
