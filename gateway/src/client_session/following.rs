//! The commands that one connection follows, as its session waits for what becomes of them.

use std::task::{Context, Poll};
use std::time::Duration;

use lockgate_proto::command::{CommandId, CommandUpdate};
use lockgate_proto::ids::Site;
use lockgate_proto::time::UnixMicros;
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

use crate::client_session::follow_logic::{FOLLOWED_MAX, Followed};
use crate::client_session::orders::Ordered;
use crate::client_session::request::RequestError;
use crate::commands;

/// Some instance says what became of a command within so long after its deadline. Where nobody has, the store is asked.
const OVERDUE: Duration = Duration::from_secs(2);

/// No timer looks farther; a deadline never does.
const FARTHEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// LIMIT: what comes at once and is told at once, so that a group is told once for all of it.
const NEWS_MAX: usize = 256;

type Heard = (commands::Followed, commands::Follow);

/// Most connections follow nothing, and there are many connections.
#[derive(Default)]
pub(super) struct Following {
    pub(super) followed: Followed,
    feeds: Vec<Feed>,
    /// When the store is to be asked what became of those whose deadline has passed.
    pub(super) look_at: Option<Instant>,
}

struct Feed {
    site: Site,
    next: ReusableBoxFuture<'static, Heard>,
}

/// What a room has told of its commands.
pub(super) struct News {
    pub(super) site: Site,
    pub(super) updates: Vec<CommandUpdate>,
    /// Something may not have come.
    pub(super) lagged: bool,
}

impl Following {
    /// Listens to a room, before it is asked how something stands in it: so nothing is between the two.
    pub(super) fn listen(&mut self, site: &Site, follow: impl FnOnce() -> commands::Follow) {
        if !self.feeds.iter().any(|feed| feed.site == *site) {
            self.feeds.reserve_exact(1);
            self.feeds.push(Feed { site: site.clone(), next: ReusableBoxFuture::new(hear(follow())) });
        }
    }

    /// Whether so many more may be followed. What is followed already, and asked for again, counts once more: who is at
    /// the limit opens another connection.
    pub(super) fn may_follow(&self, count: usize, field: &'static str) -> Result<(), RequestError> {
        if self.followed.len() + count <= FOLLOWED_MAX {
            return Ok(());
        }
        let message = format!(
            "this connection would follow more than {FOLLOWED_MAX} commands, which is the limit; end some with \
             unfollow_command, or open another one"
        );
        Err(RequestError::new(lockgate_proto::wire::ErrorCode::Limited, field, message))
    }

    /// Follows what was ordered.
    pub(super) fn follow(&mut self, site: &Site, ordered: Ordered, field: &'static str) -> Result<(), RequestError> {
        self.may_follow(ordered.count(), field)?;
        match ordered {
            Ordered::One(kept) => self.followed.follow(site, &kept),
            Ordered::Many(group, deadline) => self.followed.follow_group(site, group, deadline),
        }
        Ok(())
    }

    /// Something came or went: listens to no room of which nothing is followed, and looks for those that are overdue
    /// when it is time.
    pub(super) fn settle(&mut self, now: UnixMicros) {
        self.feeds.retain(|feed| self.followed.has(&feed.site));
        let left = |deadline: UnixMicros| u64::try_from(deadline.0.saturating_sub(now.0)).unwrap_or(0);
        let until = self.followed.deadline().map(|deadline| Duration::from_micros(left(deadline)).min(FARTHEST));
        self.look_at = until.map(|until| Instant::now() + until + OVERDUE);
    }

    /// The commands to ask for where something did not come.
    pub(super) fn open(&self, site: &Site) -> Vec<CommandId> {
        self.followed.open(site)
    }

    /// What the rooms tell.
    pub(super) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<News> {
        for feed in &mut self.feeds {
            let (mut updates, mut lagged) = (Vec::new(), false);
            while updates.len() < NEWS_MAX && !lagged {
                let Poll::Ready((heard, follow)) = feed.next.poll(context) else { break };
                feed.next.set(hear(follow));
                match heard {
                    commands::Followed::Update(update) => updates.push(update),
                    commands::Followed::Lagged => lagged = true,
                }
            }
            if lagged || !updates.is_empty() {
                return Poll::Ready(News { site: feed.site.clone(), updates, lagged });
            }
        }
        Poll::Pending
    }
}

async fn hear(mut follow: commands::Follow) -> Heard {
    let heard = follow.next().await;
    (heard, follow)
}
