//! Every way to close a link, as one table; the number says whether and how soon to come back.

/// WebSocket close codes of both links.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// This end stops on purpose.
    ShuttingDown = 4000,
    /// The session's claim to write is gone: another one has taken over, or the store went back.
    SessionLost = 4001,
    /// The peer said nothing for too long.
    IdleTimeout = 4002,
    /// The peer reads too slowly.
    SlowConsumer = 4003,
    /// The backbone can't be reached.
    BackboneLost = 4004,
    /// Too many connections or too much work; come back later.
    Overloaded = 4005,
    /// The agent itself wants to say Hello again.
    HelloAgain = 4006,
    /// Two holders of one identity: this one is not the latest.
    AgentTwice = 4500,
    /// The token does not allow this.
    Unauthorized = 4501,
    /// The peer broke the protocol.
    BadFrame = 4502,
}

impl CloseCode {
    /// All rows.
    pub const ALL: [CloseCode; 10] = [
        CloseCode::ShuttingDown,
        CloseCode::SessionLost,
        CloseCode::IdleTimeout,
        CloseCode::SlowConsumer,
        CloseCode::BackboneLost,
        CloseCode::Overloaded,
        CloseCode::HelloAgain,
        CloseCode::AgentTwice,
        CloseCode::Unauthorized,
        CloseCode::BadFrame,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The row of a number from the wire.
    pub fn from_code(code: u16) -> Option<CloseCode> {
        CloseCode::ALL.into_iter().find(|row| row.code() == code)
    }

    /// Below 4500: reconnect with the usual backoff. From 4500: the same attempt fails again until a
    /// person or a restart changes something, so try only with the longest delay.
    pub fn may_resume(self) -> bool {
        self.code() < 4500
    }

    /// The reason text of the close frame.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseCode::ShuttingDown => "shutting down",
            CloseCode::SessionLost => "session lost",
            CloseCode::IdleTimeout => "idle timeout",
            CloseCode::SlowConsumer => "slow consumer",
            CloseCode::BackboneLost => "backbone lost",
            CloseCode::Overloaded => "overloaded",
            CloseCode::HelloAgain => "hello again",
            CloseCode::AgentTwice => "agent twice",
            CloseCode::Unauthorized => "unauthorized",
            CloseCode::BadFrame => "bad frame",
        }
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.as_str(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_it_was() {
        let table: Vec<String> = CloseCode::ALL.iter().map(|row| format!("{row} {}", row.may_resume())).collect();
        assert_eq!(
            table,
            [
                "shutting down (4000) true",
                "session lost (4001) true",
                "idle timeout (4002) true",
                "slow consumer (4003) true",
                "backbone lost (4004) true",
                "overloaded (4005) true",
                "hello again (4006) true",
                "agent twice (4500) false",
                "unauthorized (4501) false",
                "bad frame (4502) false",
            ]
        );
        assert!(CloseCode::ALL.iter().all(|row| CloseCode::from_code(row.code()) == Some(*row)));
    }
}
