//! Values without a world: the nouns of certificates and of ACME.
//!
//! Nothing here asks a clock, a disk, the network, the environment or a random number generator.

pub mod access;
pub mod bucket;
pub mod cert;
pub mod gcra;
pub mod hash;
pub mod inventory;
pub mod name;
pub mod outcome;
pub mod problem;
pub mod request;
pub mod step;
pub mod text;
pub mod time;
