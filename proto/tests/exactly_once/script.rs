//! What a script can ask for.

/// What a script is made of. `second`: the other agent, where there is a copy.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append {
        second: bool,
        events: bool,
        count: u8,
    },
    /// A record that no gateway can use: undecodable, or too large.
    AppendBad {
        second: bool,
        huge: bool,
    },
    Sync {
        second: bool,
    },
    Connect {
        second: bool,
    },
    /// Lets something happen that can, `steps` times; `choice` says what.
    Run {
        choice: u8,
        steps: u8,
    },
    Wait(u16),
    Fault {
        second: bool,
        fault: Fault,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The agent sees its connection break; the gateway goes on with what is on the wire.
    BreakLink,
    /// The gateway's process dies; what it asked of the backbone may still be done.
    CrashGateway,
    KillAgent,
    LosePower,
    RollBackStore(u8),
    /// A request that was given up, or done once already, is done now.
    RunGhost(u8),
    Evict,
    Corrupt(u8),
    SaveCard,
    PutBackCard(u8),
    CloneCard,
    WipeCard,
    /// A running agent begins a new epoch, as one does that is refused for a copy of itself.
    TakeOver,
}

#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(crate) window_bytes: u64,
    pub(crate) window_records: u64,
    pub(crate) retention_millis: Option<u64>,
}
