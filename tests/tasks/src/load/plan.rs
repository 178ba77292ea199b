//! Which runs there are, and what each must reach.

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) setup: Setup,
    pub(crate) work: Work,
    pub(crate) beside: Beside,
    pub(crate) rows: &'static [Row],
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// One gateway with a store of its own.
    Embedded,
    /// The same, which does not tell a room who comes and goes: no more does the bare server.
    Quiet,
    /// So many gateways behind one Redis.
    Redis(usize),
}

/// By what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A fleet with these options.
    Fleet(&'static [&'static str]),
    /// One of two gateways is killed.
    Storm,
    /// Locust's users.
    Locust,
    /// Artillery's readers.
    Artillery,
    /// Commands to devices; `true`: beside readings.
    Commands(bool),
}

/// What does the same work in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// The bare fan-out server.
    Reference,
    /// The same, with a log on the disk.
    Recorder,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) figure: Figure,
    pub(crate) aim: Aim,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Processor time of all servers' processes, in seconds per million receipts.
    Cpu,
    /// The same per million records acknowledged.
    CpuOfRecords,
    DeliveriesPerSecond,
    LatencyP50,
    LatencyP99,
    LatencyP999,
    /// Until the last of all readers has a record, at the median.
    ToLast,
    ConnectsPerSecond,
    KibPerConnection,
    AcksPerSecond,
    AckP99,
    AwayP50,
    AwayP99,
    /// The longest that anybody was away.
    AwayMax,
    TurnedAway,
    LogReadsPerRoom,
    /// Of readers that others' tools play.
    Connections,
    Resumes,
    Receipts,
    /// Of those: lost, doubled, refused, or missing at the end.
    Wrong,
    /// One small write that is synced, at the median.
    Sync,
    /// From a command's sending to its outcome, one at a time.
    OutcomeP50,
    OutcomeP99,
    /// The same of a hundred at a time.
    OutcomeOfManyP50,
    OutcomeOfManyP99,
    CommandsPerSecond,
}

/// What it must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// So many times what the reference takes.
    TimesAtMost(f64),
    /// So much of what the reference reaches.
    ShareAtLeast(f64),
}

const fn row(figure: Figure, aim: Aim) -> Row {
    Row { figure, aim }
}

/// What a fan-out is asked: the processor, and how late.
const FAN_OUT: &[Row] = &[
    row(Figure::DeliveriesPerSecond, Aim::None),
    row(Figure::Cpu, Aim::AtMost(3.2)),
    row(Figure::Cpu, Aim::TimesAtMost(1.25)),
    row(Figure::LatencyP50, Aim::None),
    row(Figure::LatencyP99, Aim::TimesAtMost(1.5)),
    row(Figure::LatencyP999, Aim::None),
    row(Figure::KibPerConnection, Aim::None),
];
const FAN_OUT_OVER_REDIS: &[Row] = &[
    row(Figure::DeliveriesPerSecond, Aim::None),
    row(Figure::Cpu, Aim::AtMost(6.9)),
    row(Figure::LatencyP50, Aim::None),
    row(Figure::LatencyP99, Aim::None),
    row(Figure::LatencyP999, Aim::None),
    row(Figure::KibPerConnection, Aim::None),
];
const USERS: &[Row] = &[
    row(Figure::DeliveriesPerSecond, Aim::None),
    row(Figure::Cpu, Aim::None),
    row(Figure::LatencyP50, Aim::None),
    row(Figure::LatencyP99, Aim::None),
    row(Figure::LatencyP999, Aim::None),
    row(Figure::KibPerConnection, Aim::None),
];
const INGEST_ONE: &[Row] = &[
    row(Figure::AcksPerSecond, Aim::AtLeast(40_000.0)),
    row(Figure::AckP99, Aim::None),
    row(Figure::CpuOfRecords, Aim::None),
];
const INGEST_BATCHES: &[Row] = &[
    row(Figure::AcksPerSecond, Aim::AtLeast(82_000.0)),
    row(Figure::AcksPerSecond, Aim::ShareAtLeast(0.8)),
    row(Figure::AckP99, Aim::None),
    row(Figure::CpuOfRecords, Aim::None),
];
const IDLE: &[Row] =
    &[row(Figure::ConnectsPerSecond, Aim::AtLeast(8_000.0)), row(Figure::KibPerConnection, Aim::AtMost(6.0))];
const IDLE_TOLD: &[Row] = &[row(Figure::ConnectsPerSecond, Aim::None), row(Figure::KibPerConnection, Aim::None)];
const ONE_TO_ALL: &[Row] = &[row(Figure::ToLast, Aim::TimesAtMost(1.2)), row(Figure::Cpu, Aim::None)];
const STORM: &[Row] = &[
    row(Figure::AwayP50, Aim::None),
    row(Figure::AwayP99, Aim::None),
    row(Figure::AwayMax, Aim::AtMost(10_000.0)),
    row(Figure::TurnedAway, Aim::None),
    row(Figure::LogReadsPerRoom, Aim::AtMost(2.0)),
];

const COMMANDS: &[Row] = &[
    row(Figure::Sync, Aim::None),
    row(Figure::OutcomeP50, Aim::None),
    row(Figure::OutcomeP99, Aim::None),
    row(Figure::OutcomeOfManyP50, Aim::None),
    row(Figure::OutcomeOfManyP99, Aim::None),
    row(Figure::CommandsPerSecond, Aim::None),
];

const FAN_OUT_10: &[&str] = &["--rooms", "100", "--agents", "1000", "--readers", "1000", "--rate", "10000"];
/// The same, for few who hear much.
const FAN_OUT_DENSE: &[&str] = &["--rooms", "10", "--agents", "1000", "--readers", "100", "--rate", "10000"];
const FAN_OUT_100: &[&str] = &["--rooms", "10", "--agents", "1000", "--readers", "1000", "--rate", "1000"];
/// As a chat's users: 1 to 3 rooms of ten, 1 to 3 connections each.
const THOUSAND_USERS: &[&str] = &["--rooms", "10", "--agents", "100", "--users", "1000", "--rate", "50"];

const PEOPLE: &[Row] = &[
    row(Figure::Connections, Aim::AtLeast(5_000.0)),
    row(Figure::Resumes, Aim::None),
    row(Figure::Receipts, Aim::None),
    row(Figure::Wrong, Aim::AtMost(0.0)),
];

const TEN: &str = "1,000 agents publish 10,000 records/s, each to 10 readers";
const USERS_WHAT: &str = "1,000 users, each in 1 to 3 of 10 rooms with 1 to 3 connections; 50 records/s";

const fn fleet(
    name: &'static str,
    what: &'static str,
    setup: Setup,
    words: &'static [&'static str],
    beside: Beside,
    rows: &'static [Row],
) -> Run {
    Run { name, what, setup, work: Work::Fleet(words), beside, rows }
}

const fn commands(name: &'static str, what: &'static str, setup: Setup, is_busy: bool) -> Run {
    Run { name, what, setup, work: Work::Commands(is_busy), beside: Beside::Nothing, rows: COMMANDS }
}

/// All of them, in the order of the table.
pub(crate) const RUNS: &[Run] = &[
    fleet("fan-out-10", TEN, Setup::Embedded, FAN_OUT_10, Beside::Reference, FAN_OUT),
    fleet(
        "fan-out-100",
        "1,000 agents publish 1,000 records/s, each to 100 readers",
        Setup::Embedded,
        FAN_OUT_100,
        Beside::Reference,
        FAN_OUT,
    ),
    fleet(
        "fan-out-10-dense",
        "the same to 100 readers instead of 1,000: each hears 1,000 records/s and not 100",
        Setup::Embedded,
        FAN_OUT_DENSE,
        Beside::Reference,
        FAN_OUT,
    ),
    fleet("fan-out-10-redis-1", TEN, Setup::Redis(1), FAN_OUT_10, Beside::Reference, FAN_OUT_OVER_REDIS),
    fleet("fan-out-10-redis-2", TEN, Setup::Redis(2), FAN_OUT_10, Beside::Reference, FAN_OUT_OVER_REDIS),
    fleet(
        "idle",
        "5,000 readers connect as fast as they can, and hear nothing; presence.users is off",
        Setup::Quiet,
        &["--agents", "0", "--readers", "5000", "--rate", "0", "--seconds", "2"],
        Beside::Reference,
        IDLE,
    ),
    fleet(
        "idle-told",
        "5,000 readers connect as fast as they can, and each is told to the 50 of its room",
        Setup::Embedded,
        &["--rooms", "100", "--agents", "0", "--readers", "5000", "--rate", "0", "--seconds", "2"],
        Beside::Nothing,
        IDLE_TOLD,
    ),
    fleet(
        "one-to-all",
        "one record to 5,000 readers, twice a second",
        Setup::Quiet,
        &["--agents", "1", "--readers", "5000", "--rate", "2"],
        Beside::Reference,
        ONE_TO_ALL,
    ),
    fleet(
        "ingest-one",
        "1,000 agents with one record in flight each; acknowledged when it is on the disk",
        Setup::Embedded,
        &["--rooms", "1000", "--agents", "1000", "--readers", "0", "--in-flight", "1"],
        Beside::Recorder,
        INGEST_ONE,
    ),
    fleet(
        "ingest-batches",
        "50 agents with 100 records in flight each; acknowledged when they are on the disk",
        Setup::Embedded,
        &["--rooms", "50", "--agents", "50", "--readers", "0", "--in-flight", "100"],
        Beside::Recorder,
        INGEST_BATCHES,
    ),
    fleet("users", USERS_WHAT, Setup::Embedded, THOUSAND_USERS, Beside::Reference, USERS),
    fleet("users-redis-1", USERS_WHAT, Setup::Redis(1), THOUSAND_USERS, Beside::Nothing, USERS),
    fleet("users-redis-2", USERS_WHAT, Setup::Redis(2), THOUSAND_USERS, Beside::Nothing, USERS),
    Run {
        name: "storm",
        what: "one of two gateways is killed with its half of 5,000 readers, who are sent 5 records/s in each of 10 rooms",
        setup: Setup::Redis(2),
        work: Work::Storm,
        beside: Beside::Nothing,
        rows: STORM,
    },
    Run {
        name: "locust",
        what: "5,000 connections of Locust's users at two gateways, who lose one of theirs every 30 s; 5 records/s",
        setup: Setup::Redis(2),
        work: Work::Locust,
        beside: Beside::Nothing,
        rows: PEOPLE,
    },
    Run {
        name: "artillery",
        what: "5,000 readers of Artillery's at one gateway, in JSON; 5 records/s",
        setup: Setup::Embedded,
        work: Work::Artillery,
        beside: Beside::Nothing,
        rows: PEOPLE,
    },
    commands("commands", "200 commands to ten pumps one by one, then 600 a hundred at a time", Setup::Embedded, false),
    commands("commands-busy", "the same beside 2,000 readings/s", Setup::Embedded, true),
    commands("commands-redis", "as commands, over Redis", Setup::Redis(1), false),
    commands("commands-redis-busy", "the same beside 2,000 readings/s", Setup::Redis(1), true),
];
