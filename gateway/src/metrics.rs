//! Every figure that the gateway exposes, by name. Labels are closed sets: never a tenant, site or device.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets of all durations, in seconds.
const SECONDS_BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Things that only become more. With a label where the name alone would not tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// TCP connections taken from the listener.
    ConnectionsAccepted,
    /// TCP connections that were turned away, by reason.
    ConnectionsRefused(RefusedReason),
    /// Requests for a WebSocket that did not become one, by reason.
    HandshakesFailed(HandshakeReason),
    /// Sessions begun.
    SessionsOpened(SessionKind),
    /// Sessions ended, with the word of their close code.
    SessionsClosed(SessionKind, &'static str),
    /// Sessions that ended by a fault of ours.
    SessionsPanicked,
    /// Frames that could not be understood.
    FramesBad(SessionKind),
    /// Publishes received from agents.
    EdgePublishes,
    /// Bytes of frames received from agents.
    EdgeBytes,
    /// Records refused as unusable.
    EdgeRecordsRejected,
    /// Entries that were told in short.
    ClientConflated,
    /// Alarms for people to look into.
    AlarmsRaised,
    /// Steps that the backbone has stored.
    StepsDone,
    /// Entries in those steps.
    StepsEntries,
    /// Records of devices beyond a site's bound: in the log, and in no shadow.
    ShadowsLeftOut,
    /// Steps that ended their session: another session has taken over, or the backbone went back.
    StepsRefused,
    /// Calls to the backbone that failed.
    BackboneFailures,
    /// Times that somebody read in a room's log: one who resumes and whom the room can't help, or a room with a hole.
    LogReads,
    /// Entries that rooms took over from the backbone.
    RoomEntries,
    /// Holes in a room's feed that were filled from the log.
    RoomHoles,
    /// Rooms whose log turned out to have gone back and grown anew.
    RoomDiverged,
    /// Entries handed to subscribers, counted once for each.
    ClientEntries,
    /// Subscribers that fell behind the room's ring and were sent on from the log.
    ClientOverruns,
    /// Subscribers that fell so far behind that entries were skipped and told as lagged.
    ClientLagged,
    /// Orders sent to agents: commands, and wishes that they be withdrawn.
    CommandsDispatched,
    /// Commands that came to stand somewhere, with the word of their state.
    Commands(&'static str),
    /// Requests from clients.
    ClientRequests,
    /// Requests answered by an error.
    ClientErrors,
    /// REST requests, by the form of their path and the class of the answer.
    RestRequests(&'static str, &'static str),
}

/// Why a connection was turned away at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedReason {
    /// As many connections as are allowed are open.
    Connections,
    /// As many connections as are allowed are open without having shown who they are.
    Unauthenticated,
    /// As many of those as are allowed come from this address.
    Address,
    /// The first request did not come in time.
    FirstRequest,
    /// TLS could not be agreed on, or was not even tried.
    Tls,
}

impl RefusedReason {
    /// The word for figures and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RefusedReason::Connections => "connections",
            RefusedReason::Unauthenticated => "unauthenticated",
            RefusedReason::Address => "address",
            RefusedReason::FirstRequest => "first_request",
            RefusedReason::Tls => "tls",
        }
    }
}

/// Why a request did not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeReason {
    /// It was no WebSocket request.
    NotWebSocket,
    /// It did not offer the subprotocol of this address.
    Subprotocol,
    /// It had no token, or one that is not good.
    Token,
    /// It showed no certificate where one is needed.
    Certificate,
    /// The machine does not keep up with more.
    Busy,
    /// The gateway is draining.
    Draining,
    /// The connection ended between our answer and the first frame.
    Lost,
}

impl HandshakeReason {
    fn as_str(self) -> &'static str {
        match self {
            HandshakeReason::NotWebSocket => "not_websocket",
            HandshakeReason::Subprotocol => "subprotocol",
            HandshakeReason::Token => "token",
            HandshakeReason::Certificate => "certificate",
            HandshakeReason::Busy => "busy",
            HandshakeReason::Draining => "draining",
            HandshakeReason::Lost => "lost",
        }
    }
}

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// An agent's.
    Edge,
    /// A person's program's.
    Client,
}

impl SessionKind {
    /// The word in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionKind::Edge => "edge",
            SessionKind::Client => "client",
        }
    }
}

impl Counter {
    /// Adds `n`.
    pub fn add(self, n: u64) {
        let name = self.name();
        match self {
            Counter::ConnectionsRefused(reason) => metrics::counter!(name, "reason" => reason.as_str()).increment(n),
            Counter::HandshakesFailed(reason) => metrics::counter!(name, "reason" => reason.as_str()).increment(n),
            Counter::SessionsOpened(kind) | Counter::FramesBad(kind) => {
                metrics::counter!(name, "kind" => kind.as_str()).increment(n);
            }
            Counter::SessionsClosed(kind, code) => {
                metrics::counter!(name, "kind" => kind.as_str(), "code" => code).increment(n);
            }
            Counter::Commands(state) => metrics::counter!(name, "state" => state).increment(n),
            Counter::RestRequests(path, answer) => {
                metrics::counter!(name, "path" => path, "answer" => answer).increment(n);
            }
            _ => metrics::counter!(name).increment(n),
        }
    }

    /// Adds one.
    pub fn tick(self) {
        self.add(1);
    }

    fn name(self) -> &'static str {
        match self {
            Counter::ConnectionsAccepted => "lockgate_gateway_connections_accepted_total",
            Counter::ConnectionsRefused(_) => "lockgate_gateway_connections_refused_total",
            Counter::HandshakesFailed(_) => "lockgate_gateway_handshakes_failed_total",
            Counter::SessionsOpened(_) => "lockgate_gateway_sessions_opened_total",
            Counter::SessionsClosed(..) => "lockgate_gateway_sessions_closed_total",
            Counter::SessionsPanicked => "lockgate_gateway_sessions_panicked_total",
            Counter::FramesBad(_) => "lockgate_gateway_frames_bad_total",
            Counter::EdgePublishes => "lockgate_gateway_edge_publishes_total",
            Counter::EdgeBytes => "lockgate_gateway_edge_bytes_total",
            Counter::EdgeRecordsRejected => "lockgate_gateway_edge_records_rejected_total",
            Counter::ClientConflated => "lockgate_gateway_client_conflated_entries_total",
            Counter::AlarmsRaised => "lockgate_gateway_alarms_raised_total",
            Counter::StepsDone => "lockgate_gateway_steps_done_total",
            Counter::StepsEntries => "lockgate_gateway_steps_entries_total",
            Counter::ShadowsLeftOut => "lockgate_gateway_shadows_left_out_total",
            Counter::StepsRefused => "lockgate_gateway_steps_refused_total",
            Counter::BackboneFailures => "lockgate_gateway_backbone_failures_total",
            Counter::LogReads => "lockgate_gateway_log_reads_total",
            Counter::RoomEntries => "lockgate_gateway_room_entries_total",
            Counter::RoomHoles => "lockgate_gateway_room_holes_total",
            Counter::RoomDiverged => "lockgate_gateway_room_diverged_total",
            Counter::ClientEntries => "lockgate_gateway_client_entries_total",
            Counter::ClientOverruns => "lockgate_gateway_client_overruns_total",
            Counter::ClientLagged => "lockgate_gateway_client_lagged_total",
            Counter::CommandsDispatched => "lockgate_gateway_commands_dispatched_total",
            Counter::Commands(_) => "lockgate_gateway_commands_total",
            Counter::ClientRequests => "lockgate_gateway_client_requests_total",
            Counter::ClientErrors => "lockgate_gateway_client_errors_total",
            Counter::RestRequests(..) => "lockgate_gateway_rest_requests_total",
        }
    }
}

/// Things that go up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Open TCP connections.
    ConnectionsOpen,
    /// Live sessions.
    SessionsOpen(SessionKind),
    /// Rooms with a subscriber here.
    RoomsOpen,
    /// Subscriptions of clients here.
    SubscriptionsOpen,
    /// 1 while the backbone answers, 0 while it does not.
    BackboneUp,
}

impl Gauge {
    /// Counts one more until the guard is dropped.
    pub fn hold(self) -> GaugeGuard {
        self.handle().increment(1.0);
        GaugeGuard(self)
    }

    /// Sets it to 1 or 0.
    pub fn set_flag(self, on: bool) {
        self.handle().set(if on { 1.0 } else { 0.0 });
    }

    fn handle(self) -> metrics::Gauge {
        match self {
            Gauge::ConnectionsOpen => metrics::gauge!("lockgate_gateway_connections_open"),
            Gauge::SessionsOpen(kind) => metrics::gauge!("lockgate_gateway_sessions_open", "kind" => kind.as_str()),
            Gauge::RoomsOpen => metrics::gauge!("lockgate_gateway_rooms_open"),
            Gauge::SubscriptionsOpen => metrics::gauge!("lockgate_gateway_subscriptions_open"),
            Gauge::BackboneUp => metrics::gauge!("lockgate_gateway_backbone_up"),
        }
    }
}

/// One of what a gauge counts; see [`Gauge::hold`].
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.handle().decrement(1.0);
    }
}

/// How long things took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// From handing a step to the backbone until it was stored.
    Step,
    /// From a REST request until its answer.
    Rest,
}

impl Timing {
    /// Records one.
    pub fn record(self, span: Duration) {
        match self {
            Timing::Rest => metrics::histogram!("lockgate_gateway_rest_seconds").record(span.as_secs_f64()),
            Timing::Step => metrics::histogram!("lockgate_gateway_step_seconds").record(span.as_secs_f64()),
        }
    }
}

/// The figures of this process.
#[derive(Clone)]
pub struct Figures(PrometheusHandle);

impl Figures {
    /// All of them, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Tidies up what nobody has scraped; without it, durations pile up.
    pub fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// The recorder of this process, installed at the first call.
///
/// # Errors
/// Another recorder has been installed before, by someone else.
pub fn install() -> Result<Figures, InstallError> {
    // One per process by nature: the `metrics` macros write to a global recorder.
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .ok()
        })
        .clone()
        .map(Figures)
        .ok_or(InstallError)
}

/// The process has a recorder of metrics that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot install the recorder of metrics: the process has one already")]
pub struct InstallError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_under_its_name_and_label() {
        let handle = install().unwrap();
        Counter::HandshakesFailed(HandshakeReason::Subprotocol).add(3);
        let held = Gauge::RoomsOpen.hold();
        Timing::Step.record(Duration::from_millis(3));
        let text = handle.render();
        assert!(text.contains("lockgate_gateway_handshakes_failed_total{reason=\"subprotocol\"} 3"), "{text}");
        assert!(text.contains("lockgate_gateway_rooms_open 1"), "{text}");
        assert!(text.contains("lockgate_gateway_step_seconds_bucket"), "{text}");
        drop(held);
        assert!(handle.render().contains("lockgate_gateway_rooms_open 0"));
    }

    #[test]
    fn a_second_install_gives_the_same_recorder() {
        install().unwrap();
        Counter::RoomHoles.tick();
        assert!(install().unwrap().render().contains("lockgate_gateway_room_holes_total"));
    }
}
