//! What several tests need: real servers of others, and waiting without sleeping.

// Every test is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod eventually;
pub mod moto;
pub mod script;
