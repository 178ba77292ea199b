//! Promise 2: a command takes effect at most once, and its sender learns what is known.
//!
//! Agent, two gateways and a backbone in one world, which lists what can happen next and does it: processes that are
//! killed, boards that lose power with half a write, cards that are wiped or put back, connections that break, answers
//! that are lost, requests that run twice and late, a backbone that goes back. The model checker explores small worlds
//! in full; proptest walks through large ones, and what travels does so as bytes. Nothing here decides anything about
//! a command: that is left to the functions that the agent and the gateways call.

mod agent;
mod gateway;
mod model;
mod promises;
mod walk;
mod world;
