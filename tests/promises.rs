//! One module per promise; each tries to break it with real processes.
