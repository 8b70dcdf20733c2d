//! Records, map keys and values, and the names of maps, programs and globals.

pub mod conn;
pub mod count;
pub mod names;
pub mod record;
pub mod settings;
