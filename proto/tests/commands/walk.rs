//! Long random walks through large worlds.
