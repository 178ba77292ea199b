//! Random numbers of the system.

use ring::rand::{SecureRandom, SystemRandom};

/// A random number, fit for ids that must not be guessed.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the kernel has random bytes once a program runs");
    u64::from_ne_bytes(bytes)
}
