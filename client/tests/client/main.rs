//! The client against a gateway that does what a script says.

#[cfg(test)]
mod gateway;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod subscription;
