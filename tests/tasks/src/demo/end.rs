//! The end of the demo: what became of every sample.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use lockgate_tests::account::{Account, repeated, samples, whole_log};
use lockgate_tests::gateway::SITE;
use lockgate_tests::wait;
use lockgate_tests::watch::ask;

use super::scene::Scene;

/// Whether somebody pressed Ctrl-C.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn catch() -> Result<Interrupt> {
        let came = Arc::new(AtomicBool::new(false));
        let seen = came.clone();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for Ctrl-C")?;
        std::thread::spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                seen.store(true, Ordering::SeqCst);
            }
        });
        Ok(Interrupt(came))
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The numbers of the last line.
pub(crate) struct Counted {
    account: Account,
    seen_live: u64,
    gaps: u64,
    doubled_live: u64,
}

impl Counted {
    pub(crate) fn line(&self) -> String {
        let Account { produced, unheard, stored, lost, doubled, .. } = &self.account;
        let (seen_live, gaps) = (self.seen_live, self.gaps);
        let doubled = doubled + self.doubled_live;
        format!(
            "produced {produced} · unheard {unheard} · stored {stored} · seen live {seen_live} · gaps {gaps} · lost {lost} · doubled {doubled}"
        )
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.account.is_clean() && self.doubled_live == 0
    }

    pub(crate) fn details(&self) -> &str {
        &self.account.text
    }
}

/// Silences the devices, lets everything arrive, and counts.
pub(crate) fn count(mut scene: Scene) -> Result<Counted> {
    scene.close_viewer()?;
    let (url, token) = (scene.stage.url(), scene.token.clone());
    let journal = scene.devices.stop()?;
    Account::await_arrival(&journal, &url, &token)?;
    scene.agent.stop(wait::PATIENCE)?;
    let loss = ask(&url, &token, &["loss", SITE])?;
    let stored = samples(&whole_log(&url, &token)?);
    let head = stored.len();
    scene.watch.until("the live client has seen everything", wait::PATIENCE, |lines| samples(lines).len() >= head)?;
    let live = samples(scene.watch.look()?);
    let account = Account::settle(&journal, &stored)?;
    let gaps = loss.iter().filter_map(|agent| agent["gaps"].as_array()).map(|gaps| gaps.len() as u64).sum();
    let doubled_live = repeated(live.iter());
    Ok(Counted { account, seen_live: live.len() as u64 - doubled_live, gaps, doubled_live })
}
