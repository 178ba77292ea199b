//! Figures of the wire come here.
fn main() {}
