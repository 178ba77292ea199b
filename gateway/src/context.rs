//! What every session of this process shares.

use std::sync::Arc;

use lockgate_runtime::clock::Clock;
use lockgate_token::SigningKey;
use tokio_util::sync::CancellationToken;

use crate::backbone::Backbone;
use crate::config::Config;
use crate::room::RoomsHandle;

/// Handles and settings; cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) rooms: RoomsHandle,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) clock: Clock,
    /// Sessions shall end and peers go elsewhere.
    pub(crate) drain: CancellationToken,
}
