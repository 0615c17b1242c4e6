//! The real executable, driven from outside: by devices over HTTP, by people over REST and the command line, by SIGTERM and SIGKILL.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod balancer;
mod command_line;
mod deployment;
mod diagnostics;
mod eventually;
mod idle;
mod kill;
mod life;
mod operations;
mod printer;
mod process;
mod real_printers;
mod refusals;
mod roles;
mod server;
mod shutdown;
mod site;
mod tls;
