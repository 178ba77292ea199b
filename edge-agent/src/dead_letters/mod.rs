//! Input that could not be used, kept with the reason, bounded, for people to look at.
