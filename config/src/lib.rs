//! Configuration files, read with every fault at once.
//!
//! TOML text → [`Document`] (all syntax errors) → [`Table`] and [`Item`], whose typed readers note a
//! [`Problem`] for each value that can't be used and each key that nobody knows → checked values. A
//! problem has its place (file, line, column, key), what is wrong and how to put it right; [`Problems`]
//! draws them all.
//!
//! ```
//! use std::time::Duration;
//! use lockgate_config::{Document, Item, Problems, Table};
//!
//! struct Uplink { url: String, keepalive: Duration }
//!
//! fn uplink(table: &Table<'_>) -> Option<Uplink> {
//!     let url = table.required("url", Item::text);
//!     let keepalive = table.or("keepalive", Duration::from_secs(30), |item| {
//!         item.duration(Duration::from_secs(1)..=Duration::from_secs(3600))
//!     });
//!     Some(Uplink { url: url?.to_owned(), keepalive })
//! }
//!
//! let text = "[uplink]\nurl = 'ws://localhost'\nkeepalive = '10s'\n";
//! let problems = Problems::new();
//! let document = Document::parse("agent.toml", text, &problems);
//! let uplink = document.check(|root| root.section("uplink", uplink));
//! let uplink = problems.into_result(uplink).expect("the text is right");
//! assert_eq!(uplink.keepalive, Duration::from_secs(10));
//! ```
//!
//! A reader that fails returns `None` and has noted why. So a check reads **all** its keys first and
//! uses `?` only when it builds its result. Never reads a clock or the environment; [`read`] is the one
//! function that opens a file.

mod document;
mod item;
mod nearest;
mod place;
mod problems;
mod read;
mod render;
mod table;
mod units;

#[cfg(test)]
mod tests;

pub use document::Document;
pub use item::{Item, Raw};
pub use nearest::nearest;
pub use problems::{Problem, Problems};
pub use read::{FILE_BYTES_MAX, ReadError, read};
pub use table::Table;
pub use units::{UnitError, parse_bytes, parse_duration, show_bytes, show_duration};
