//! What mappings promise that no capture shows. Profiles are written as users write them.
