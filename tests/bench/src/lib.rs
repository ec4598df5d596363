//! Measures Lambda functions from outside. Each runs as a process under a Runtime API of the bench, with stand-ins for
//! AWS and the vendor behind TLS. The figures are per process: CPU time, memory, instructions.

pub mod instructions;
pub mod process;
pub mod quota;
pub mod runtime_api;
pub mod samples;
pub mod stand_ins;
pub mod subject;
