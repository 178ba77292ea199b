//! Hundreds of commands while agent, gateways and connections are killed: what was done is what is said.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use lockgate_tests::chaos::Chaos;
use lockgate_tests::gateway::Gateway;
use lockgate_tests::orders::{Person, Told};
use lockgate_tests::proxy::Proxy;
use lockgate_tests::random::Random;
use lockgate_tests::servant::Servant;
use lockgate_tests::wait;
use serde_json::Value;

use super::agent_of;

const SEED: u64 = 20_261_125;
/// Exit codes of `lockgate send`.
const NOT_REACHED: i32 = 4;
const NOBODY_KNOWS: i32 = 8;
/// People who order at once, each with one command at a time.
const PEOPLE: usize = 6;
/// It goes on until so many have ended: on a busy machine, through more kills.
const ORDERS_MIN: usize = 120;
const DEVICES: [&str; 3] = ["hall", "yard", "roof"];

/// One command, as its sender knows it.
struct Order {
    id: String,
    idempotent: bool,
    told: Told,
}

#[test]
fn what_is_said_of_commands_is_what_a_device_did_though_agent_and_gateway_are_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let url = gateway.url();
    through_kills(folder.path(), &mut [gateway], &[url], 6)
}

pub(super) fn through_kills(folder: &Path, gateways: &mut [Gateway], urls: &[String], kills: u32) -> Result<()> {
    let people = urls.iter().map(|url| gateways[0].sender("ann", url)).collect::<Result<Vec<Person>>>()?;
    let servants = DEVICES.map(Servant::start).into_iter().collect::<Result<Vec<_>>>()?;
    // So that kills meet commands that have begun and have not ended.
    for servant in &servants {
        servant.take_time(Duration::from_millis(80));
    }
    let of_agent: Vec<&Servant> = servants.iter().collect();
    let lines = gateways.iter().map(|gateway| Proxy::start(gateway.address())).collect::<Result<Vec<Proxy>>>()?;
    let url = lines.iter().map(|line| format!("ws://{}", line.address())).collect::<Vec<_>>().join(",");
    let mut agent = agent_of(folder, &url, &gateways[0].agent_token("agent-1")?, &of_agent)?;
    agent.restart()?;
    agent.await_connected()?;

    let plan = Plan::default();
    std::thread::scope(|scope| -> Result<()> {
        let people = people.iter().cycle().take(PEOPLE);
        let senders: Vec<_> = people.map(|person| scope.spawn(|| plan.send_in_turn(person))).collect();
        let (mut chaos, mut cuts) = (Chaos::seeded(SEED), Random::seeded(!SEED));
        let mut struck = Ok(());
        while struck.is_ok() && (chaos.kills() < kills || plan.ended() < ORDERS_MIN) {
            cut(&chaos, &mut cuts, &lines);
            struck = chaos.strike(&mut agent, gateways).map(drop);
        }
        plan.is_over.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        struck
    })?;
    let orders = plan.orders.into_inner().map_err(|_| anyhow!("a sender panicked"))?;

    // Nobody kills any more: the agent says the last word of each.
    let history = wait::until("every command has ended", wait::PATIENCE, || {
        let history = people[0].commands(&[]).ok()?;
        let is_over = history.iter().all(|command| !is_open(&command["state"]));
        is_over.then_some(history)
    })
    .with_context(|| agent.log_tail())?;
    let mut succeeded = 0;
    for order in &orders {
        let done: usize = servants.iter().map(|servant| servant.count(&order.id)).sum();
        let kept = history.iter().find(|command| command["id"] == *order.id);
        ensure_true(order, kept, done)?;
        succeeded += usize::from(kept.is_some_and(|kept| kept["state"] == "succeeded"));
    }
    let count = orders.len();
    ensure!(succeeded > count / 2, "too few succeeded to prove anything: {succeeded} of {count}");
    Ok(())
}

/// Cuts the agent's connections now and then, until the next kill is due.
fn cut(chaos: &Chaos, random: &mut Random, lines: &[Proxy]) {
    while !chaos.is_due() {
        wait::pass(random.span(Duration::from_millis(50), Duration::from_millis(900)));
        lines.iter().for_each(Proxy::cut);
    }
}

fn is_open(state: &Value) -> bool {
    ["accepted", "queued", "dispatched", "delivered", "executing", "unknown"].iter().any(|word| state == word)
}

#[derive(Default)]
struct Plan {
    next: AtomicUsize,
    is_over: AtomicBool,
    orders: Mutex<Vec<Order>>,
}

impl Plan {
    /// How many of the orders have come to an end.
    fn ended(&self) -> usize {
        self.orders.lock().map_or(usize::MAX, |orders| orders.len())
    }

    /// Orders one after the other, until nobody is killed any more.
    fn send_in_turn(&self, person: &Person) -> Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let mut random = Random::seeded(SEED ^ number as u64);
            let device = DEVICES[number % DEVICES.len()];
            let idempotent = random.below(4) == 0;
            let (id, ttl) = (format!("c{number}"), format!("{}ms", 800 + random.below(5_000)));
            let what: &[&str] = if idempotent { &["home", "--idempotent"] } else { &["set", "level=5"] };
            let told = loop {
                let told = person.send(&[&[device], what, &["--id", &id, "--ttl", &ttl, "--wait"]].concat())?;
                // No gateway was there at the first attempt: nothing was sent.
                if told.code != NOT_REACHED {
                    break told;
                }
            };
            self.orders.lock().map_err(|_| anyhow!("a sender panicked"))?.push(Order { id, idempotent, told });
            // An agent remembers so many commands; more than that in this time, it would refuse.
            wait::pass(random.span(Duration::ZERO, Duration::from_millis(500)));
        }
        Ok(())
    }
}

/// What the sender was told, what is kept and what was done go together.
fn ensure_true(order: &Order, kept: Option<&Value>, done: usize) -> Result<()> {
    let told = &order.told;
    let all = || format!("{}: told {told:?}, kept {kept:?}, done {done} times", order.id);
    ensure!(order.idempotent || done <= 1, "it was done twice: {}", all());
    let Some(kept) = kept else {
        // Its sender was told that it was not taken, or could not be told anything.
        ensure!(done == 0 && told.lines.is_empty() && told.code != 0, "it is not kept: {}", all());
        return Ok(());
    };
    let state = kept["state"].as_str().unwrap_or_default();
    match state {
        "succeeded" => ensure!(done >= 1, "{}", all()),
        "expired" | "cancelled" => ensure!(done == 0, "{}", all()),
        "interrupted" | "failed" => {}
        other => bail!("{other:?} is no end: {}", all()),
    }
    // What ended the wait was true: it stands. Else it was told that nobody knows.
    let knew_nothing = told.code == NOBODY_KNOWS && told.state() != "interrupted";
    let was_too_late = told.lines.is_empty() && told.complaint.contains("deadline has passed");
    ensure!(told.state() == state || knew_nothing || was_too_late, "{}", all());
    Ok(())
}
