//! Measures Lambda functions from outside: each is started as Lambda starts it, under a Runtime API of our own, with stand-ins
//! behind TLS for what it talks to. Only what is counted for the process itself is compared: its CPU clock, its memory, its
//! instructions.

pub mod instructions;
pub mod process;
pub mod quota;
pub mod runtime_api;
pub mod samples;
pub mod stand_ins;
pub mod subject;
