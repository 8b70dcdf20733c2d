//! Where flows go: lines for people, JSON for programs.

pub mod doctor;
mod escape;
pub mod events;
mod json;
pub mod metrics;
mod observe;
mod printer;
mod show;
mod text;
mod time_format;

#[cfg(test)]
mod observe_tests;
#[cfg(test)]
mod tests;

pub use observe::ObserveSink;
pub use printer::{Format, Printer, PrinterOptions};
pub use show::{Selector, Show};
pub use time_format::TimeFormat;
