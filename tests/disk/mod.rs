//! Disks that fill up, tear and rot: what is lost is told, and nothing else is lost.

mod damage;
mod full;
