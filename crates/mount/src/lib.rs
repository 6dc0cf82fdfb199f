//! Mounts: the trait [`Mount`], the Linux one ([`LinuxMount`], by system calls, without a mount program), and the
//! stateful [`FakeMount`]. [`contract`] is one suite of sequences that runs on both.
//!
//! Truth is the kernel's mount table: what is mounted where is read from there each time and never remembered. This
//! crate must not know what the mounted datasets are for, and runs no `zfs` command.

pub mod contract;
pub mod mountinfo;

mod api;
mod error;
mod fake;
mod linux;
mod options;
mod selinux;

pub use api::{DeviceFs, FsUsage, Mount, ZfsMount, Zvol, ZvolMount};
pub use error::{MountError, MountErrorKind};
pub use fake::{FakeMount, FakeZvol, MountCall};
pub use linux::LinuxMount;
pub use mountinfo::{MountEntry, MountTable};
pub use options::MountOption;
pub use selinux::{InvalidContext, SelinuxContext};
