//! The rules of the house that a machine can check. What each one is for stands beside it.
//!
//! A rule returns a line per offence, `path:line: what is wrong and what to do instead`.

mod dependencies;
mod documents;
mod sources;
mod tree;

use tree::Tree;

fn check(rule: fn(&Tree) -> Vec<String>) {
    let offences = rule(&Tree::read());
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    check(sources::opens_with_a_purpose);
}

#[test]
fn no_source_file_grows_past_what_one_can_hold_in_mind() {
    check(sources::stays_short);
}

#[test]
fn nothing_unfinished_is_left_behind() {
    check(sources::is_finished);
}

#[test]
fn tests_wait_on_conditions_and_never_sleep() {
    check(sources::tests_do_not_sleep);
}

#[test]
fn every_silenced_lint_has_a_reason() {
    check(sources::silencers_have_reasons);
}

#[test]
fn pure_code_knows_no_clock_no_file_and_no_socket() {
    check(sources::pure_code_is_pure);
}

#[test]
fn a_foreign_library_is_named_in_one_place() {
    check(sources::foreign_names_stay_home);
}

#[test]
fn logs_and_messages_are_words_for_people() {
    check(sources::people_are_spoken_to);
}

#[test]
fn text_files_are_plain() {
    check(sources::text_is_plain);
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    check(documents::names_no_machine);
}

#[test]
fn links_in_documents_lead_somewhere() {
    check(documents::links_resolve);
}

#[test]
fn the_architecture_names_every_package() {
    check(documents::architecture_is_complete);
}

#[test]
fn every_environment_variable_is_told_in_the_readme() {
    check(documents::variables_are_told);
}

#[test]
fn banned_crates_are_not_in_the_lock_file() {
    check(dependencies::bans_hold);
}

#[test]
fn packages_depend_on_each_other_in_one_direction() {
    check(dependencies::layers_hold);
}

#[test]
fn agents_do_not_grow_by_what_only_the_gateway_speaks() {
    check(dependencies::agents_carry_no_json);
}
