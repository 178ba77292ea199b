//! Lines of the log that a peer can provoke at will, and how often it gets them.

use std::time::Duration;

use lockgate_proto::ids::{AgentId, Tenant};
use lockgate_runtime::log_limit::LineLimit;

/// Where lines are limited, one of each kind comes at most so often in the long run.
pub(crate) const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Comings and goings that are logged at once; a peer that flaps for an hour is some hundred lines.
const SESSIONS_AT_ONCE: u32 = 20;

/// The limits, shared by all sessions.
pub(crate) struct Lines {
    /// An agent came, and left.
    pub(crate) agents: LineLimit<AgentId>,
    /// A person's program came, and left.
    pub(crate) people: LineLimit<(Tenant, String)>,
    /// Records that can't be used.
    pub(crate) rejected: LineLimit<AgentId>,
    /// A session got no answer of the backbone. Of all together: they all get none.
    pub(crate) unanswered: LineLimit<()>,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            agents: LineLimit::new(SESSIONS_AT_ONCE, LINE_INTERVAL),
            people: LineLimit::new(SESSIONS_AT_ONCE, LINE_INTERVAL),
            rejected: LineLimit::new(1, LINE_INTERVAL),
            unanswered: LineLimit::new(1, LINE_INTERVAL),
        }
    }
}

/// The field that says how many lines were left out, in those lines of which it is not none.
pub(crate) fn left_out(lines: u64) -> Option<u64> {
    (lines > 0).then_some(lines)
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{AgentName, RoomId, Site};
    use lockgate_proto::time::MonoTime;

    use super::*;

    #[test]
    fn an_hour_of_flapping_is_some_hundred_lines_and_an_ordinary_day_is_all_of_them() {
        let lines = Lines::default();
        let room = RoomId { tenant: Tenant::new("acme").unwrap(), site: Site::new("plant").unwrap() };
        let agent = AgentId { room, agent: AgentName::new("pi").unwrap() };
        let tenth = |at: u32| MonoTime(Duration::from_millis(100) * at);
        let told = (0..36_000).filter_map(|at| lines.agents.pass(&agent, tenth(at))).count();
        assert!(told <= 20 + 360, "{told} lines");
        let rejected = (0..36_000).filter_map(|at| lines.rejected.pass(&agent, tenth(at))).count();
        assert!(rejected <= 1 + 360, "{rejected} lines");
        let day = (0..24 * 60)
            .filter_map(|at| lines.people.pass(&(Tenant::new("acme").unwrap(), "ann".into()), tenth(at * 600)));
        assert_eq!(day.collect::<Vec<u64>>(), [0; 24 * 60]);
    }
}
