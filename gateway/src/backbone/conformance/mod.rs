//! One suite for every engine: each case is a promise of [`Backbone`](super::Backbone), and tries to break it.
//!
//! An engine's tests give a function that makes a [`World`] and call [`conformance_suite!`]; each case
//! becomes a test of its own. Cases know nothing of the engine but the trait and what a world can do to it.

pub(crate) mod agent;
mod attendance;
mod commands;
mod descriptions;
mod faults;
mod feeds;
mod logs;
mod retention;
mod shadows;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::time::UnixMicros;

use super::Backbone;

pub(crate) use attendance::*;
pub(crate) use commands::*;
pub(crate) use descriptions::*;
pub(crate) use faults::*;
pub(crate) use feeds::*;
pub(crate) use logs::*;
pub(crate) use retention::*;
pub(crate) use shadows::*;
pub(crate) use steps::*;

/// How long what an instance says stands in every world.
pub(crate) const LEASE: Duration = Duration::from_millis(400);

/// How many devices of a room get a shadow in every world whose engine knows a bound; no other case has more.
pub(crate) const DEVICES_MAX: usize = 24;

/// What a world's logs keep, unless a case says otherwise: everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    /// As [`Retention::age`](super::Retention::age).
    pub(crate) age: Option<Duration>,
    /// As [`Retention::room_bytes_max`](super::Retention::room_bytes_max).
    pub(crate) room_bytes_max: Option<u64>,
    /// As [`Retention::commands`](super::Retention::commands).
    pub(crate) commands: Option<Duration>,
}

/// One store of its own, and what can happen to it.
#[async_trait]
pub(crate) trait World: Send {
    /// The engine over the store. Another one after each `crash` and `put_back_copy`.
    fn backbone(&self) -> Arc<dyn Backbone>;

    /// Everything in memory is gone; the store is as it was at this instant, and is opened anew.
    async fn crash(&mut self);

    /// Copies the store aside.
    async fn keep_copy(&mut self);

    /// Puts the copy back in the store's place, and opens that.
    async fn put_back_copy(&mut self);

    /// From now on the store refuses writes.
    async fn break_store(&mut self);

    /// The store takes writes again.
    async fn mend_store(&mut self);

    /// Lets so much time pass, by the clock that leases run by.
    async fn pass(&mut self, span: Duration);

    /// Applies retention as of this time, to the end.
    async fn trim(&mut self, now: UnixMicros);
}

/// Makes a test of each case. `$make` is an async function from [`Keep`] to a boxed [`World`].
macro_rules! conformance_suite {
    ($make:path) => {
        conformance_suite!(@cases $make:
            a_step_is_applied_once_however_often_it_is_asked_for,
            a_step_out_of_order_is_refused_and_changes_nothing,
            a_new_session_fences_the_older_ones,
            of_sessions_that_race_exactly_one_goes_on_writing,
            who_opened_no_session_writes_nothing,
            a_superseded_epoch_is_refused_and_harms_nobody,
            a_repeated_request_for_a_session_changes_nothing,
            many_agents_at_once_lose_nothing_and_share_one_order,
            a_ledger_comes_back_as_it_was_stored,
            the_loss_ledger_adds_up,
            offsets_have_no_holes_and_stamps_are_linked,
            an_entry_is_the_header_and_the_very_bytes_that_came,
            a_read_stays_within_its_limits_and_always_goes_on,
            the_last_entries_come_oldest_first,
            a_reader_resumes_only_in_the_history_it_knows,
            rooms_do_not_see_each_other,
            a_feed_and_the_log_meet_without_hole_or_double,
            a_feed_carries_what_the_log_has,
            a_slow_feed_is_told_and_the_log_fills_it,
            nothing_is_published_that_was_refused,
            a_shadow_keeps_the_newest_in_the_order_of_the_agent,
            backlog_and_history_do_not_overwrite_what_is_newer,
            presence_follows_its_own_order,
            a_device_is_stale_until_it_is_heard_again,
            a_device_goes_over_to_the_agent_that_tells_of_it_now,
            a_snapshot_knows_all_up_to_its_position,
            devices_are_listed_by_name,
            devices_beyond_the_bound_are_logged_and_get_no_shadow,
            a_list_goes_on_where_it_stopped,
            no_more_shadows_are_read_than_are_wanted,
            a_device_is_what_it_was_last_described_as,
            values_and_descriptions_of_a_device_do_not_disturb_each_other,
            a_device_that_goes_over_is_what_its_new_agent_says,
            coming_and_leaving_are_entries_told_once,
            people_at_two_instances_are_counted_together,
            who_was_at_an_instance_that_died_leaves_after_the_lease,
            who_is_in_a_room_outlives_a_crash,
            instances_that_speak_at_once_lose_nobody,
            entries_of_no_record_take_their_place_in_the_log,
            a_book_is_written_only_as_it_was_read,
            a_command_comes_back_as_it_was_stored,
            a_book_holds_what_is_open_and_what_is_asked_for,
            one_id_is_one_command_in_whatever_book,
            a_command_goes_over_to_another_book_in_one_write,
            gateways_that_write_to_one_book_lose_nothing,
            who_follows_a_rooms_commands_hears_what_was_stored,
            overdue_books_are_found_until_their_waits_have_ended,
            the_history_of_commands_is_paged_and_stays_in_place,
            ended_commands_are_forgotten_and_open_ones_stay,
            a_store_put_back_is_not_the_book_that_was_read,
            a_store_that_refuses_keeps_its_books_as_they_were,
            age_drops_entries_and_the_newest_stays,
            bytes_drop_entries_and_the_newest_stays,
            a_reader_behind_what_was_dropped_is_told,
            an_answer_outlives_a_crash,
            a_step_whose_answer_was_lost_can_be_asked_again_after_a_crash,
            a_store_that_refuses_leaves_nothing_half_done_and_recovers,
            a_store_put_back_shows_it,
        );
    };
    (@cases $make:path: $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::backbone::conformance::$case(|keep| $make(keep)).await;
            }
        )+
    };
}

pub(crate) use conformance_suite;
