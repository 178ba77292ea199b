//! Commands, in a client's session: what it orders, and what it is told of what it follows.

use futures_util::future::join_all;
use lockgate_proto::command::{CommandId, Kept};
use lockgate_proto::ids::Site;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use tracing::debug;

use super::Session;
use crate::client_session::follow_logic::Tell;
use crate::client_session::following::News;
use crate::client_session::request::{OrderRequest, RequestError, SendRequest};
use crate::client_session::{orders, reply};
use crate::peer::End;

/// Commands that are asked for at a time where something did not come.
const ASKED_AT_ONCE: usize = 32;

impl Session<'_> {
    /// Does what is asked about commands.
    pub(super) async fn order(&mut self, request: OrderRequest) -> Result<Body, RequestError> {
        let (context, grant) = (&self.context, &self.grant);
        match request {
            OrderRequest::Send(send) => self.send(&send).await,
            OrderRequest::Get { site, id, follow } => {
                if follow {
                    let room = grant.room(site.clone());
                    self.following.listen(&site, || context.desk.follow(&room));
                }
                let ordered = orders::get(context, grant, &site, &id, "get_command.id").await;
                self.answer_and_follow(&site, ordered, follow, "get_command.follow")
            }
            OrderRequest::List(site, page) => orders::list(context, grant, &site, page).await.map(Body::CommandList),
            OrderRequest::Cancel(site, id) => {
                orders::cancel(context, grant, &site, &id).await.map(|ordered| ordered.body(&site))
            }
            OrderRequest::Unfollow(site, id) => self.unfollow(&site, &id),
        }
    }

    async fn send(&mut self, send: &SendRequest) -> Result<Body, RequestError> {
        let (context, grant) = (&self.context, &self.grant);
        let whom = orders::whom(context, grant, send).await?;
        if send.follow {
            // What can't be followed is not ordered: its sender would take the refusal for the whole.
            self.following.may_follow(whom.count(), "send_command.follow")?;
            let room = grant.room(send.site.clone());
            self.following.listen(&send.site, || context.desk.follow(&room));
        }
        let ordered = orders::accept(context, grant, send, whom).await;
        self.answer_and_follow(&send.site, ordered, send.follow, "send_command.follow")
    }

    fn answer_and_follow(
        &mut self,
        site: &Site,
        ordered: Result<orders::Ordered, RequestError>,
        follow: bool,
        field: &'static str,
    ) -> Result<Body, RequestError> {
        let answer = ordered.and_then(|ordered| {
            let body = ordered.body(site);
            if follow {
                self.following.follow(site, ordered, field)?;
            }
            Ok(body)
        });
        self.following.settle(self.context.desk.now());
        answer
    }

    fn unfollow(&mut self, site: &Site, id: &CommandId) -> Result<Body, RequestError> {
        if !self.following.followed.unfollow(site, id) {
            let message = format!("command {:?} is not followed on this connection, or it is over", id.as_str());
            return Err(RequestError::new(wire::ErrorCode::NotFound, "unfollow_command.id", message));
        }
        self.following.settle(self.context.desk.now());
        Ok(Body::Unfollowed(wire::Unfollowed { site: site.as_str().to_owned(), id: id.as_str().to_owned() }))
    }

    /// Tells what has become of commands that are followed.
    pub(super) async fn news(&mut self, news: News) -> Result<(), End> {
        let News { site, updates, lagged } = news;
        let told = self.following.followed.news(&site, &updates);
        self.tell_of_commands(&site, told).await?;
        if lagged {
            let open = self.following.open(&site);
            self.look_into(&site, open).await?;
        }
        self.following.settle(self.context.desk.now());
        self.peer.flush().await
    }

    /// The store is asked what became of those that somebody should have told of by now.
    pub(super) async fn overdue(&mut self) -> Result<(), End> {
        let overdue = self.following.followed.overdue(self.context.desk.now());
        for (site, ids) in overdue {
            self.look_into(&site, ids).await?;
        }
        self.following.settle(self.context.desk.now());
        self.peer.flush().await
    }

    async fn look_into(&mut self, site: &Site, ids: Vec<CommandId>) -> Result<(), End> {
        let room = self.grant.room(site.clone());
        for ids in ids.chunks(ASKED_AT_ONCE) {
            let found = join_all(ids.iter().map(|id| self.context.desk.get(&room, id))).await;
            let mut updates = Vec::new();
            for found in found {
                match found {
                    Ok(kept) => updates.extend(kept.as_ref().map(Kept::update)),
                    // It is asked for again: after its deadline at the latest.
                    Err(error) => debug!(%error, "Cannot ask what became of a command."),
                }
            }
            let told = self.following.followed.news(site, &updates);
            self.tell_of_commands(site, told).await?;
        }
        Ok(())
    }

    async fn tell_of_commands(&mut self, site: &Site, told: Vec<Tell>) -> Result<(), End> {
        for tell in told {
            let body = match tell {
                Tell::Command(update) => Body::Command(reply::command_update(site, &update)),
                Tell::Group(id, summary) => reply::group_status(site, &id, &summary),
            };
            self.peer.feed(self.encoding.encode(reply::UNASKED, body)).await?;
        }
        Ok(())
    }
}
