//! The way to the gateway: dialled again and again, and spoken over by the `AgentLink` of `proto`.
//!
//! `refusal` says in words why a gateway does not want us; `session` is the shell of one connection; `twice_logic` says when to begin anew where a copy has taken over; `time_logic` dates what was taken before the clock was set.
//! What is sent when, and what a loss of the connection means, the link decides: here bytes are moved
//! and the queue is asked.

mod refusal;
mod session;
mod status;
mod time_logic;
mod twice_logic;

use std::time::Duration;

use lockgate_proto::gateways::{Attempt, Gateways, Trouble};
use lockgate_proto::link::agent::AgentLink;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::seq::Epoch;
use lockgate_runtime::dial::{DialError, Dialer, GatewayUrl};
use lockgate_runtime::link::{Link, LinkOptions};
use lockgate_runtime::tls::TlsError;
use lockgate_runtime::words::{chain, span};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use status::LinkStatus;
use twice_logic::Contest;

use crate::commands::CommandsHandle;
use crate::config::{SecretError, UplinkConfig};
use crate::dead_letters::DeadLetterHandle;
use crate::queue::{BootId, QueueClosed, QueueHandle};
use crate::time::TimeHandle;

/// Where the edge link of a gateway is.
const PATH: &str = "/v1/edge";
const SUBPROTOCOL: &str = "lockgate.edge.v1";

/// LIMIT: reasons that are logged in one outage.
const REASONS_TOLD_MAX: usize = 32;

/// What the uplink works with.
pub struct UplinkParts {
    /// Where to, and as whom.
    pub config: UplinkConfig,
    /// The protocol.
    pub link: AgentLink,
    /// What is sent.
    pub queue: QueueHandle,
    /// Who carries commands out.
    pub commands: CommandsHandle,
    /// Where refused records go.
    pub dead_letters: DeadLetterHandle,
    /// Dates what is sent; learns from the gateway.
    pub time: TimeHandle,
    /// The boot that the machine is in.
    pub boot: BootId,
    /// Told how it is.
    pub status: watch::Sender<LinkStatus>,
}

/// The uplink's task.
pub struct Uplink {
    parts: UplinkParts,
    /// Which gateway is next, and when.
    gateways: Gateways<GatewayUrl>,
    /// With a copy of this agent, where there is one.
    contest: Contest,
    /// What dialled last; the next one shares its certificates.
    dialer: Option<Dialer>,
    /// Why there is no connection: each reason is logged once in an outage.
    told: Vec<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    /// The certificates to trust can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token can't be had.
    #[error("token: {0}")]
    Token(#[from] SecretError),
    /// The gateway can't be reached, or refuses.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// We were told to stop, and all is said.
    Stopped,
    /// The queue is closed, or the executor has ended: the agent is about to end.
    Closing,
    /// One of the two ends has closed it, with this row of the table.
    Closed { code: Option<CloseCode>, why: String },
    /// It broke.
    Broken { why: String },
}

impl Uplink {
    /// Connects to nothing yet.
    pub fn new(parts: UplinkParts) -> Uplink {
        let gateways = Gateways::new(parts.config.url.clone(), parts.config.other_urls.iter().cloned());
        Uplink { parts, gateways, contest: Contest::default(), dialer: None, told: Vec::new() }
    }

    /// Keeps a connection until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut attempt = self.gateways.first();
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep(attempt.delay) => {}
            }
            self.begin_anew_when_due().await;
            let dialled = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // CANCEL-SAFE: a half-made connection is dropped, and the gateway sees it end.
                dialled = self.dial(&attempt) => dialled,
            };
            let next = match dialled {
                Ok(link) => {
                    let end = self.session(link, &stop).await;
                    self.after_session(&end)
                }
                Err(error) => {
                    self.down(&refusal::of_connect(&error));
                    Some(self.next_attempt(trouble_of(&error)))
                }
            };
            match next {
                Some(next) => attempt = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Where a copy of this agent has taken its place: opens a new epoch after a while, as a restart would.
    async fn begin_anew_when_due(&mut self) {
        if !self.contest.is_due(self.parts.time.now()) {
            return;
        }
        let epoch = Epoch(lockgate_runtime::random());
        match self.parts.queue.renew(epoch).await {
            Ok(Ok(())) => {
                self.contest.begun_anew();
                warn!(
                    %epoch,
                    "Begins a new epoch, to take over from the other agent of this name. If this comes again and \
                     again, both live: stop one of them, or give it a name and token of its own."
                );
            }
            Ok(Err(error)) => warn!(error = chain(&error), "No new epoch could be begun; this is tried again."),
            // The agent stops; the dial or the session notices.
            Err(QueueClosed) => {}
        }
    }

    /// What to do after a connection that was; `None`: nothing more.
    fn after_session(&mut self, end: &End) -> Option<Attempt<GatewayUrl>> {
        let (why, trouble) = match end {
            End::Stopped | End::Closing => return None,
            End::Closed { code, why } if code.is_none_or(CloseCode::may_resume) => (why, Trouble::Passing),
            End::Closed { why, .. } => (why, Trouble::Lasting),
            End::Broken { why } => (why, Trouble::Passing),
        };
        self.down(why);
        if matches!(end, End::Closed { code: Some(CloseCode::AgentTwice), .. }) {
            self.contest.refused(self.parts.time.now(), lockgate_runtime::random());
        }
        Some(self.next_attempt(trouble))
    }

    fn next_attempt(&mut self, trouble: Trouble) -> Attempt<GatewayUrl> {
        self.gateways.ended(self.parts.time.now(), trouble, lockgate_runtime::random())
    }

    async fn dial(&mut self, attempt: &Attempt<GatewayUrl>) -> Result<Link, ConnectError> {
        let token = self.parts.config.token.reveal()?;
        let url = attempt.address.clone();
        let dialer = if let Some(dialer) = &self.dialer {
            dialer.to(url)?
        } else {
            let trust = self.parts.config.trust.clone();
            Dialer::new(url, PATH, SUBPROTOCOL, LinkOptions::edge_at_agent(), trust)?
        };
        let dialer = self.dialer.insert(dialer).clone().with_connect_timeout(attempt.patience);
        Ok(dialer.dial(Some(&token)).await?)
    }

    /// The gateway has let us in.
    fn up(&mut self, rtt: Duration) {
        let news = self.parts.status.send_replace(LinkStatus::Up { rtt });
        if !matches!(news, LinkStatus::Up { .. }) {
            info!(gateway = %self.gateways.current(), rtt = %span(rtt), "Connected to the gateway.");
        }
        self.told.clear();
        let now = self.parts.time.now();
        self.gateways.up(now);
        self.contest.let_in(now);
    }

    fn down(&mut self, reason: &str) {
        self.parts.status.send_replace(LinkStatus::Down { reason: reason.into() });
        // Several gateways fail of several reasons, by turns.
        let is_new = self.told.len() < REASONS_TOLD_MAX && !self.told.iter().any(|told| told == reason);
        if is_new {
            self.told.push(reason.to_owned());
            warn!(gateway = %self.gateways.current(), %reason, "No connection to the gateway; it is tried again.");
        }
    }

    /// A gateway leaves on purpose, and names others. What is less safe than the configured ones is not gone to.
    fn detour(&mut self, reconnect_after: Duration, gateways: &[String]) {
        let is_secure = self.parts.config.urls().all(GatewayUrl::is_secure);
        let urls = gateways.iter().filter_map(|url| url.parse().ok());
        self.gateways.go_away(reconnect_after, urls.filter(|url: &GatewayUrl| url.is_secure() || !is_secure));
    }
}

fn trouble_of(error: &ConnectError) -> Trouble {
    match error {
        ConnectError::Dial(error) if error.is_unauthorized() => Trouble::Lasting,
        ConnectError::Dial(error) => error.retry_after().map_or(Trouble::Passing, Trouble::Asked),
        ConnectError::Tls(_) | ConnectError::Token(_) => Trouble::Passing,
    }
}

#[cfg(test)]
mod tests;
