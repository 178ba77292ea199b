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

use std::collections::VecDeque;
use std::time::Duration;

use lockgate_proto::backoff::Backoff;
use lockgate_proto::link::agent::AgentLink;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::seq::Epoch;
use lockgate_proto::time::MonoTime;
use lockgate_runtime::dial::{DialError, Dialer, GatewayUrl};
use lockgate_runtime::link::{Link, LinkOptions};
use lockgate_runtime::tls::TlsError;
use lockgate_runtime::words::{chain, span};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use status::LinkStatus;
use twice_logic::Contest;

use crate::config::{SecretError, UplinkConfig};
use crate::dead_letters::DeadLetterHandle;
use crate::queue::{BootId, QueueClosed, QueueHandle};
use crate::time::TimeHandle;

/// Where the edge link of a gateway is.
const PATH: &str = "/v1/edge";
const SUBPROTOCOL: &str = "lockgate.edge.v1";

/// First and longest wait before the gateway is tried again.
const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// LIMIT: other gateways that a gateway may name for us to try.
const DETOURS_MAX: usize = 8;

/// What the uplink works with.
pub struct UplinkParts {
    /// Where to, and as whom.
    pub config: UplinkConfig,
    /// The protocol.
    pub link: AgentLink,
    /// What is sent.
    pub queue: QueueHandle,
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
    backoff: Backoff,
    /// When the gateway has let us in, on the present connection.
    up_since: Option<MonoTime>,
    /// With a copy of this agent, where there is one.
    contest: Contest,
    home: Option<Dialer>,
    /// Other gateways that the last one named, best first.
    detours: VecDeque<GatewayUrl>,
    /// What the last gateway asked us to wait.
    asked_delay: Option<Duration>,
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
    /// The queue is closed: there is nothing to send from.
    QueueClosed,
    /// One of the two ends has closed it, with this row of the table.
    Closed { code: Option<CloseCode>, why: String },
    /// It broke.
    Broken { why: String },
}

impl Uplink {
    /// Connects to nothing yet.
    pub fn new(parts: UplinkParts) -> Uplink {
        let backoff = Backoff::new(RECONNECT_BACKOFF.0, RECONNECT_BACKOFF.1);
        Uplink {
            parts,
            backoff,
            up_since: None,
            contest: Contest::default(),
            home: None,
            detours: VecDeque::new(),
            asked_delay: None,
        }
    }

    /// Keeps a connection until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.begin_anew_when_due().await;
            let dialled = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // CANCEL-SAFE: a half-made connection is dropped, and the gateway sees it end.
                dialled = self.dial() => dialled,
            };
            let delay = match dialled {
                Ok(link) => match self.session(link, &stop).await {
                    End::Stopped | End::QueueClosed => break,
                    end @ (End::Closed { .. } | End::Broken { .. }) => self.after_session(&end),
                },
                Err(error) => self.after_failure(&error),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep(delay) => {}
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

    async fn dial(&mut self) -> Result<Link, ConnectError> {
        let token = self.parts.config.token.reveal()?;
        let dialer = match self.detours.pop_front() {
            Some(url) => self.dialer(url)?,
            None => match &self.home {
                Some(home) => home.clone(),
                None => self.home.insert(self.dialer(self.parts.config.url.clone())?).clone(),
            },
        };
        Ok(dialer.dial(Some(&token)).await?)
    }

    fn dialer(&self, url: GatewayUrl) -> Result<Dialer, TlsError> {
        let ca_file = self.parts.config.ca_file.as_deref();
        Dialer::new(url, PATH, SUBPROTOCOL, LinkOptions::edge_at_agent(), ca_file)
    }

    /// How long to wait after a connection that was.
    fn after_session(&mut self, end: &End) -> Duration {
        let random = lockgate_runtime::random();
        let (why, may_resume) = match end {
            End::Closed { code, why } => (why.as_str(), code.is_none_or(CloseCode::may_resume)),
            End::Broken { why } => (why.as_str(), true),
            End::Stopped | End::QueueClosed => ("the agent stops", true),
        };
        self.down(why);
        if let Some(since) = self.up_since.take() {
            self.backoff.ended_after(self.parts.time.now().since(since));
        }
        if matches!(end, End::Closed { code: Some(CloseCode::AgentTwice), .. }) {
            self.contest.refused(self.parts.time.now(), lockgate_runtime::random());
        }
        match self.asked_delay.take() {
            _ if !may_resume => self.backoff.longest_delay(random),
            // Another gateway need not be waited for.
            Some(_) if !self.detours.is_empty() => self.backoff.next_delay(random),
            Some(asked) => self.backoff.next_delay_after(asked, random),
            None => self.backoff.next_delay(random),
        }
    }

    /// How long to wait after an attempt that failed.
    fn after_failure(&mut self, error: &ConnectError) -> Duration {
        self.down(&refusal::of_connect(error));
        let random = lockgate_runtime::random();
        match error {
            ConnectError::Dial(error) if error.is_unauthorized() => self.backoff.longest_delay(random),
            ConnectError::Dial(error) => match error.retry_after() {
                Some(asked) => self.backoff.next_delay_after(asked.min(Duration::from_secs(3_600)), random),
                None => self.backoff.next_delay(random),
            },
            ConnectError::Tls(_) | ConnectError::Token(_) => self.backoff.next_delay(random),
        }
    }

    /// The gateway has let us in. That alone ends no series of attempts: it may die of what comes next.
    fn up(&mut self, rtt: Duration) {
        let news = self.parts.status.send_replace(LinkStatus::Up { rtt });
        if !matches!(news, LinkStatus::Up { .. }) {
            info!(gateway = %self.parts.config.url, rtt = %span(rtt), "Connected to the gateway.");
        }
        let now = self.parts.time.now();
        self.up_since.get_or_insert(now);
        self.contest.let_in(now);
    }

    fn down(&mut self, reason: &str) {
        let status = LinkStatus::Down { reason: reason.into() };
        if self.parts.status.send_replace(status.clone()) != status {
            warn!(gateway = %self.parts.config.url, %reason, "No connection to the gateway; it is tried again.");
        }
    }

    /// A gateway leaves on purpose, and names others. What is less safe than the configured one is not gone to.
    fn detour(&mut self, reconnect_after: Duration, gateways: &[String]) {
        self.asked_delay = Some(reconnect_after.min(Duration::from_secs(3_600)));
        let is_secure = self.parts.config.url.is_secure();
        let urls = gateways.iter().filter_map(|url| url.parse().ok());
        self.detours = urls.filter(|url: &GatewayUrl| url.is_secure() || !is_secure).take(DETOURS_MAX).collect();
    }
}

#[cfg(test)]
mod tests;
