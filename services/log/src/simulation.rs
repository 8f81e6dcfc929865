//! Random histories of the real engine on a simulated machine.
//!
//! [`machine`] knows what is durable and what is only written, and loses the rest when its power fails. [`driver`] opens
//! the engine on it and moves its parts one step at a time on one thread: submissions, batches, rounds of the publisher,
//! reads, witnesses, crashes. [`model`] keeps what everybody outside knows, in the simplest way, and says after each step
//! which promise is broken:
//!
//! - I1 every receipt that was handed out verifies against some later checkpoint, and its entry is where it says
//! - I2 all checkpoints that anybody saw are of one log
//! - I3 after a restart fsck finds nothing
//! - I4 no index is used twice
//! - I5 an entry that is submitted again has its first index and, in a certificate log, its first signature
//! - I6 a loss that anything here or outside knows of is never silent
//! - I7 whoever serves the files never shows a checkpoint whose tiles are missing or wrong
//! - I8 a refusal leaves nothing half-written: the log opens when what was broken is healed
//!
//! A history is data from a seed ([`history`]), so that it can be told again, and made short. [`mutant`] are engines that
//! are broken on purpose, which the histories have to find. [`ending`] and [`damage`] are disks that break their promises;
//! [`found`] are bugs that were found so.

mod damage;
mod driver;
mod ending;
mod found;
mod histories;
mod history;
mod machine;
mod model;
mod mutant;
mod random;
mod witness;
